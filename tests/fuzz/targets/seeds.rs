//! Writes the seeds of a target into a folder, a file each.

fn main() -> std::io::Result<()> {
    let (target, folder) = (std::env::args().nth(1), std::env::args().nth(2));
    let (Some(target), Some(folder)) = (target, folder) else { panic!("usage: seeds TARGET FOLDER") };
    let seeds = match target.as_str() {
        "codec" => hobnail_fuzz::codec::seeds(),
        "connection" | "two_connections" => hobnail_fuzz::connection::seeds(),
        "stored" => hobnail_fuzz::stored::seeds(),
        "envelope" => hobnail_fuzz::envelope::seeds(),
        other => panic!("{other} has no seeds"),
    };
    for (number, seed) in seeds.iter().enumerate() {
        std::fs::write(std::path::Path::new(&folder).join(format!("seed-{number}")), seed)?;
    }
    Ok(())
}
