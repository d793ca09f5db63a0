//! `media …`: the library of announcements in memory and on disk, and encoded announcements. Adding and reading again may wait for the
//! database; who calls must be prepared for that.

use media_store::library::{Kept, Library, LibraryError};

use super::{Cli, MORE, Words};

pub fn list_files(cli: &Cli, _: &mut Words<'_>) -> String {
    list(&library(cli).kept_files())
}

pub fn list_dbs(cli: &Cli, _: &mut Words<'_>) -> String {
    list(&library(cli).kept_database_media())
}

pub fn list_caches(cli: &Cli, _: &mut Words<'_>) -> String {
    list(&library(cli).kept_on_disk())
}

pub fn list_players(cli: &Cli, _: &mut Words<'_>) -> String {
    let line = |media: crate::play::encodings::EncodedMedia| {
        format!("{}, {} frames, {} octets\n", media.name, media.frames, media.octets)
    };
    cli.engine.sources().encodings().list().into_iter().map(line).collect()
}

pub fn add_file(cli: &Cli, words: &mut Words<'_>) -> String {
    file(words, |path| library(cli).add_file(path))
}

pub fn add_db(cli: &Cli, words: &mut Words<'_>) -> String {
    index(words, |id| library(cli).add_database_medium(id))
}

pub fn add_cache(cli: &Cli, words: &mut Words<'_>) -> String {
    index(words, |id| library(cli).add_to_disk(id))
}

pub fn reload_file(cli: &Cli, words: &mut Words<'_>) -> String {
    file(words, |path| library(cli).reload_file(path))
}

pub fn reload_files(cli: &Cli, _: &mut Words<'_>) -> String {
    format!("{} media files reloaded\n", library(cli).reload_files())
}

pub fn reload_db(cli: &Cli, words: &mut Words<'_>) -> String {
    index(words, |id| library(cli).reload_database_medium(id))
}

pub fn reload_dbs(cli: &Cli, _: &mut Words<'_>) -> String {
    format!("{} media entries reloaded\n", library(cli).reload_database_media())
}

pub fn reload_cache(cli: &Cli, words: &mut Words<'_>) -> String {
    index(words, |id| library(cli).reload_on_disk(id))
}

pub fn reload_caches(cli: &Cli, _: &mut Words<'_>) -> String {
    format!("{} media entries reloaded\n", library(cli).reload_all_on_disk())
}

pub fn evict_file(cli: &Cli, words: &mut Words<'_>) -> String {
    match path(words) {
        None => MORE.into(),
        Some(path) if library(cli).evict_file(&path) => SUCCESS.into(),
        Some(path) => format!("Failed to evict '{path}'\n"),
    }
}

pub fn evict_files(cli: &Cli, _: &mut Words<'_>) -> String {
    format!("{} media files evicted\n", library(cli).evict_files())
}

pub fn evict_db(cli: &Cli, words: &mut Words<'_>) -> String {
    evict(words, |id| library(cli).evict_database_medium(id))
}

pub fn evict_dbs(cli: &Cli, _: &mut Words<'_>) -> String {
    format!("{} DB media entries evicted\n", library(cli).evict_database_media())
}

pub fn evict_cache(cli: &Cli, words: &mut Words<'_>) -> String {
    evict(words, |id| library(cli).evict_from_disk(id))
}

pub fn evict_caches(cli: &Cli, _: &mut Words<'_>) -> String {
    format!("{} DB cache entries evicted\n", library(cli).evict_all_from_disk())
}

pub fn evict_players(cli: &Cli, _: &mut Words<'_>) -> String {
    format!("{} DB cache entries evicted\n", cli.engine.sources().encodings().evict_all())
}

const SUCCESS: &str = "Success\n";

fn library(cli: &Cli) -> &Library {
    cli.engine.sources().library()
}

fn list(kept: &[Kept]) -> String {
    let line = |Kept { name, loaded, used }: &Kept| {
        format!("{name}, loaded {} s ago, last used {} s ago\n", loaded.as_secs(), used.as_secs())
    };
    kept.iter().map(line).collect()
}

/// A path may have blanks in it.
fn path(words: &mut Words<'_>) -> Option<String> {
    Some(words.rest().join(" ")).filter(|path| !path.is_empty())
}

fn file(words: &mut Words<'_>, load: impl FnOnce(&str) -> Result<(), LibraryError>) -> String {
    let Some(path) = path(words) else { return MORE.into() };
    loaded(&path, load(&path))
}

fn index(words: &mut Words<'_>, load: impl FnOnce(u64) -> Result<(), LibraryError>) -> String {
    let Some(word) = words.next() else { return MORE.into() };
    match word.parse() {
        Ok(id) => loaded(word, load(id)),
        Err(_) => format!("Invalid ID '{word}'\n"),
    }
}

/// The reply is the historical one; the reason is for the log.
fn loaded(name: &str, result: Result<(), LibraryError>) -> String {
    match result {
        Ok(()) => SUCCESS.into(),
        Err(error) => {
            tracing::warn!(name, %error, "medium not loaded");
            format!("Failed to reload '{name}'\n")
        }
    }
}

fn evict(words: &mut Words<'_>, evict: impl Fn(u64) -> bool) -> String {
    let indexes = words.rest();
    if indexes.is_empty() {
        return MORE.into();
    }
    let line = |word: &&str| match word.parse() {
        Ok(id) if evict(id) => format!("Success ({id})\n"),
        Ok(id) => format!("Failed to evict {id}\n"),
        Err(_) => format!("Invalid ID '{word}'\n"),
    };
    indexes.iter().map(line).collect()
}
