use proptest::prelude::*;

use super::lay_out;

#[test]
fn levels_become_two_spaces_and_comments_stay_with_what_follows() {
    let wild = "version: 1\n\n\n\n# the hub\nbrokers:   \n     # first\n     hub:\n          host: 10.0.0.10\t\n\n\n     spare: {\n   host: 10.0.0.11\n}\n# end\n\n\n";
    let tame = "version: 1\n\n# the hub\nbrokers:\n  # first\n  hub:\n    host: 10.0.0.10\n\n  spare: {\n    host: 10.0.0.11\n  }\n# end\n";
    assert_eq!(lay_out(wild), tame);
}

#[test]
fn brackets_in_quotes_and_comments_open_nothing() {
    let text = "a: \"[\" # [ {\nb: '{'\nc: [\"}\", #\n  \"]\"]\nd: 1\n";
    assert_eq!(lay_out(text), text);
}

proptest! {
    #[test]
    fn laying_out_twice_changes_nothing_more(text in "([ a-c:#\\[\\]{}\"'\\-]{0,12}\n){0,12}") {
        let once = lay_out(&text);
        prop_assert_eq!(lay_out(&once), once);
    }
}
