use std::net::TcpListener;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::doctor::witness::Witness;

const WAIT: Duration = Duration::from_secs(20);

fn witness() -> (Witness, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (Witness::start(listener).unwrap(), address)
}

/// A disk as it was when the power went, and a witness that knows what it had said until then.
struct Pulled {
    disk: TempDir,
    witness: String,
    heard: u64,
}

impl Pulled {
    fn new() -> Self {
        let (before, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (witness, address) = witness();
        let stop = AtomicBool::new(false);
        let heard = thread::scope(|scope| {
            let writing = scope.spawn(|| write(before.path(), &address, "first", &stop, |_| ()));
            let until = Instant::now() + WAIT;
            while witness.heard().is_none_or(|heard| heard.number < 5) {
                assert!(Instant::now() < until && !writing.is_finished(), "{:?}", witness.heard());
                thread::sleep(Duration::from_millis(5));
            }
            let heard = witness.heard().unwrap();
            fs::copy(before.path().join(FILE), disk.path().join(FILE)).unwrap();
            stop.store(true, Ordering::Relaxed);
            assert_eq!(writing.join().unwrap().unwrap(), Ended::Stopped);
            heard
        });
        assert_eq!(fs::read_dir(before.path()).unwrap().count(), 0, "called off, it leaves nothing");
        assert_eq!(witness.heard(), None, "nor does the witness expect anything");
        let mut to = ToWitness::connect(&address).unwrap();
        to.begin(heard.id, "first").unwrap();
        to.tell(heard.number).unwrap();
        assert_eq!(to.heard().unwrap(), Some(heard.clone()));
        Self { disk, witness: address, heard: heard.number }
    }

    fn file(&self) -> PathBuf {
        self.disk.path().join(FILE)
    }

    fn compare(&self) -> Verdict {
        compare(self.disk.path(), &self.witness, "second").unwrap()
    }
}

#[test]
fn a_disk_that_has_what_it_said_has_kept_it() {
    let pulled = Pulled::new();
    assert_eq!(compare(pulled.disk.path(), &pulled.witness, "first").unwrap(), Verdict::SameBoot);
    let Verdict::Kept { kept, heard } = pulled.compare() else { panic!("it is all there") };
    assert!(kept >= heard && heard == pulled.heard);
    assert!(!pulled.file().exists());
    assert_eq!(pulled.compare(), Verdict::Gone { heard });
}

#[test]
fn a_disk_that_lost_the_end_the_middle_or_another_tests_records_lies() {
    for (spoil, kept) in [
        (Box::new(|file: &fs::File| file.set_len(3 * 4096)) as Box<dyn Fn(&fs::File) -> io::Result<()>>, 3),
        (Box::new(|file| file.write_at(4096 + 512, &[0; 512])), 1),
        (Box::new(|file| file.write_at(0, &record(1, 1))), 0),
        (Box::new(|file| file.set_len(0)), 0),
    ] {
        let pulled = Pulled::new();
        spoil(&fs::File::options().write(true).open(pulled.file()).unwrap()).unwrap();
        assert_eq!(pulled.compare(), Verdict::Lost { kept, heard: pulled.heard });
        assert!(!pulled.file().exists());
    }
}

#[test]
fn without_a_number_or_a_witness_nothing_is_judged_and_the_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE), "").unwrap();
    let (_witness, address) = witness();
    assert_eq!(compare(folder.path(), &address, "second").unwrap(), Verdict::Unheard);
    let mut to = ToWitness::connect(&address).unwrap();
    to.begin(1, "first").unwrap();
    assert_eq!(compare(folder.path(), &address, "second").unwrap(), Verdict::Unheard);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    assert!(matches!(compare(folder.path(), &nobody, "second"), Err(PlugError::Witness(..))));
    let go_on = AtomicBool::new(false);
    assert!(matches!(write(folder.path(), &address, "second", &go_on, |_| ()), Err(PlugError::Unchecked)));
    assert!(folder.path().join(FILE).exists());
    fs::remove_file(folder.path().join(FILE)).unwrap();
    assert!(matches!(write(folder.path(), &nobody, "second", &go_on, |_| ()), Err(PlugError::Witness(..))));
    assert!(!folder.path().join(FILE).exists());
}
