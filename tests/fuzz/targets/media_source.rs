//! A file that somebody sent or that lies in a database, as an announcement reads it; and the URL rules.

#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use media_store::http::{UrlRules, without_password};
use media_store::source::{AudioSource, Origin};

/// A second of stereo is enough to get through the first packets.
const ENOUGH: usize = 2 * 8000;

fuzz_target!(|input: &[u8]| {
    let [choice, octets @ ..] = input else { return };
    if choice & 0xf0 == 0xf0 {
        url(&String::from_utf8_lossy(octets));
        return;
    }
    let channels = 1 + (choice & 1);
    let Ok(mut source) = AudioSource::open(Origin::Memory(octets.into()), 8000, channels) else { return };
    let mut samples = Vec::new();
    if choice & 2 != 0 {
        let position = Duration::from_millis(u64::from(choice >> 2) * 37);
        if source.seek(position).is_err() {
            return;
        }
    }
    while samples.len() < ENOUGH {
        match source.read(&mut samples) {
            Ok(true) => assert!(!samples.is_empty()),
            Ok(false) | Err(_) => break,
        }
    }
    assert_eq!(samples.len() % usize::from(channels), 0);
});

fn url(text: &str) {
    static RULES: OnceLock<UrlRules> = OnceLock::new();
    let rules = RULES.get_or_init(|| UrlRules::parse(["http://h/a"]).expect("a rule"));
    let shown = without_password(text);
    assert!(shown.len() <= text.len());
    if let Ok(url) = text.parse()
        && rules.allow(&url)
    {
        assert!(url.path() == "/a" || url.path().starts_with("/a/"));
        assert!(!url.path().contains("/../"));
    }
    let _ = UrlRules::parse(text.split(';'));
}
