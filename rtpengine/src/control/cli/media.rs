//! `media …`: the library of announcements kept in memory or on disk. This version keeps none, so that all of it is always empty.

use super::{Cli, MORE, Words, not_supported};

pub fn list(_: &Cli, _: &mut Words<'_>) -> String {
    String::new()
}

pub fn add(_: &Cli, words: &mut Words<'_>) -> String {
    if words.next().is_none() { MORE.into() } else { not_supported("keeping media") }
}

pub fn reload_one(_: &Cli, words: &mut Words<'_>) -> String {
    words.next().map_or_else(|| MORE.into(), |name| format!("Failed to reload '{name}'\n"))
}

pub fn reload_index(_: &Cli, words: &mut Words<'_>) -> String {
    let Some(word) = words.next() else { return MORE.into() };
    if is_index(word) { format!("Failed to reload '{word}'\n") } else { format!("Invalid ID '{word}'\n") }
}

pub fn reload_files(_: &Cli, _: &mut Words<'_>) -> String {
    "0 media files reloaded\n".into()
}

pub fn reload_entries(_: &Cli, _: &mut Words<'_>) -> String {
    "0 media entries reloaded\n".into()
}

pub fn evict_file(_: &Cli, words: &mut Words<'_>) -> String {
    words.next().map_or_else(|| MORE.into(), |name| format!("Failed to evict '{name}'\n"))
}

pub fn evict_files(_: &Cli, _: &mut Words<'_>) -> String {
    "0 media files evicted\n".into()
}

pub fn evict_indexes(_: &Cli, words: &mut Words<'_>) -> String {
    let indexes = words.rest();
    if indexes.is_empty() {
        return MORE.into();
    }
    let evict = |word: &&str| {
        if is_index(word) { format!("Failed to evict {word}\n") } else { format!("Invalid ID '{word}'\n") }
    };
    indexes.iter().map(evict).collect()
}

pub fn evict_dbs(_: &Cli, _: &mut Words<'_>) -> String {
    "0 DB media entries evicted\n".into()
}

pub fn evict_caches(_: &Cli, _: &mut Words<'_>) -> String {
    "0 DB cache entries evicted\n".into()
}

fn is_index(word: &str) -> bool {
    word.parse::<u64>().is_ok()
}
