//! The table of commands, and the texts that are made from it.

use std::fmt::Write;

use super::{Cli, Words, calls, json, list, media, params, redis, set};

/// Commands that stand side by side.
pub type Level = &'static [Node];

/// A word and what it does.
pub struct Node {
    pub word: &'static str,
    /// Parameters, as `help` shows them.
    pub synopsis: &'static str,
    /// Empty for words that only lead to others.
    pub help: &'static str,
    pub run: Run,
}

pub enum Run {
    /// Other words follow.
    Level(Level),
    Command(fn(&Cli, &mut Words<'_>) -> String),
    /// A name follows, and then other words about what it names.
    Item(fn(&Cli, Level, &mut Words<'_>) -> String, Level),
}

const fn level(word: &'static str, below: Level) -> Node {
    Node { word, synopsis: "<option>", help: "", run: Run::Level(below) }
}

pub const fn command(
    word: &'static str,
    synopsis: &'static str,
    help: &'static str,
    run: fn(&Cli, &mut Words<'_>) -> String,
) -> Node {
    Node { word, synopsis, help, run: Run::Command(run) }
}

/// The first words.
pub const TOP: Level = &[
    command("usage", "", "show all commands", |_, _| usage()),
    level("list", LIST),
    command(
        "terminate",
        "<callid> | all | own | foreign",
        "end one call, or all of a kind",
        calls::terminate,
    ),
    level("set", SET),
    level("get", LIST),
    level("params", PARAMS),
    command("ksadd", "<uint>", "follow the calls of another Redis keyspace", redis::add_keyspace),
    command(
        "ksrm",
        "<uint>",
        "stop following a Redis keyspace, end its foreign calls",
        redis::remove_keyspace,
    ),
    command("kslist", "", "show the Redis keyspaces that are followed", redis::list_keyspaces),
    command("active", "", "take over all calls", calls::active),
    command("standby", "", "leave all calls to another instance", calls::standby),
    command("debug", "<callid> on | off", "log everything about a call", calls::debug),
    Node {
        word: "call",
        synopsis: "<callid> <option>",
        help: "",
        run: Run::Item(calls::enter_call, calls::CALL),
    },
    level("media", MEDIA),
    command(
        "json",
        "<command> | live",
        "the reply to a command, or calls with their quality, as JSON",
        json::run,
    ),
];

const LIST: Level = &[
    command("numsessions", "", "number of calls", list::numsessions),
    command(
        "sessions",
        "<callid> [explain] | all | own | foreign",
        "one line per call, all about one, or why its codecs are as they are",
        list::sessions,
    ),
    command("totals", "", "statistics as text", list::totals),
    command("counters", "", "what the last second brought", list::counters),
    command("maxopenfiles", "", "limit of open files", list::maxopenfiles),
    command("maxsessions", "", "limit of calls", list::maxsessions),
    command("maxcpu", "", "limit of CPU usage", list::maxcpu),
    command("maxload", "", "limit of the load average", list::maxload),
    command("maxbw", "", "limit of bandwidth", list::maxbw),
    command("timeout", "", "value of timeout", list::timeout),
    command("silenttimeout", "", "value of silent-timeout", list::silenttimeout),
    command("offertimeout", "", "value of offer-timeout", list::offertimeout),
    command("finaltimeout", "", "value of final-timeout", list::finaltimeout),
    command("loglevels", "", "parts of the daemon that have a log level", list::loglevels),
    command("loglevel", "[<system>]", "log levels, or that of one part", list::loglevel),
    command("redisallowederrors", "", "value of redis-allowed-errors", redis::show_allowed_errors),
    command("redisdisabletime", "", "value of redis-disable-time", redis::show_disable_time),
    command("redisconnecttimeout", "", "value of redis-connect-timeout", redis::show_connect_timeout),
    command("rediscmdtimeout", "", "value of redis-cmd-timeout", redis::show_command_timeout),
    command("controltos", "", "TOS of ng packets", list::controltos),
    command("deletedelay", "", "value of delete-delay", list::deletedelay),
    command("interfaces", "", "ports and traffic of local addresses", list::interfaces),
    command("jsonstats", "", "statistics as JSON", list::jsonstats),
    command("transcoders", "", "transcoders by chain of codecs", list::transcoders),
];

const SET: Level = &[
    command("maxopenfiles", "<uint>", "change the limit of open files", set::maxopenfiles),
    command("maxsessions", "<int>", "change the limit of calls, -1 for none", set::maxsessions),
    command("maxcpu", "<float>", "change the limit of CPU usage in percent, 0 for none", set::maxcpu),
    command("maxload", "<float>", "change the limit of the load average, 0 for none", set::maxload),
    command("maxbw", "<uint>", "change the limit of bandwidth in octets per second, 0 for none", set::maxbw),
    command("timeout", "<uint>", "change timeout, in seconds", set::timeout),
    command("silenttimeout", "<uint>", "change silent-timeout, in seconds", set::silenttimeout),
    command("offertimeout", "<uint>", "change offer-timeout, in seconds", set::offertimeout),
    command("finaltimeout", "<uint>", "change final-timeout, in seconds, 0 for never", set::finaltimeout),
    command("loglevel", "<uint> | <sys> <uint>", "change all log levels, or that of one part", set::loglevel),
    command("redisallowederrors", "<int>", "change redis-allowed-errors", redis::allowed_errors),
    command("redisdisabletime", "<uint>", "change redis-disable-time", redis::disable_time),
    command("redisdisable", "0 | 1", "stop or resume writing to Redis", redis::disable),
    command("redisconnecttimeout", "<uint>", "change redis-connect-timeout", redis::connect_timeout),
    command("rediscmdtimeout", "<uint>", "change redis-cmd-timeout", redis::command_timeout),
    command("controltos", "<uint>", "change the TOS of ng packets", set::controltos),
    command("deletedelay", "<uint>", "change delete-delay, in seconds", set::deletedelay),
];

const PARAMS: Level = &[
    command("start", "", "configuration that the daemon was started with", params::start),
    command("current", "", "configuration at present", params::current),
    command("diff", "", "what was changed since the start", params::diff),
    command("revert", "", "take back all changes", params::revert),
];

const MEDIA: Level = &[
    level(
        "list",
        &[
            command("files", "", "media files in memory", media::list_files),
            command("dbs", "", "media of the database in memory", media::list_dbs),
            command("caches", "", "media of the database on disk", media::list_caches),
            command("players", "", "encoded announcements in memory", media::list_players),
        ],
    ),
    level(
        "add",
        &[
            command("file", "<path>", "keep a media file in memory", media::add_file),
            command("db", "<index>", "keep media of the database in memory", media::add_db),
            command("cache", "<index>", "keep media of the database on disk", media::add_cache),
        ],
    ),
    level(
        "reload",
        &[
            command("file", "<path>", "read a media file in memory again", media::reload_file),
            command("files", "", "read all media files in memory again", media::reload_files),
            command("db", "<index>", "read media of the database in memory again", media::reload_db),
            command("dbs", "", "read all media of the database in memory again", media::reload_dbs),
            command("cache", "<index>", "read media on disk again from the database", media::reload_cache),
            command("caches", "", "read all media on disk again from the database", media::reload_caches),
        ],
    ),
    level(
        "evict",
        &[
            command("file", "<path>", "forget a media file", media::evict_file),
            command("files", "", "forget all media files", media::evict_files),
            command("db", "<index> ...", "forget media of the database in memory", media::evict_db),
            command("dbs", "", "forget all media of the database in memory", media::evict_dbs),
            command("cache", "<index> ...", "forget media of the database on disk", media::evict_cache),
            command("caches", "", "forget all media of the database on disk", media::evict_caches),
            command("players", "", "forget all encoded announcements", media::evict_players),
        ],
    ),
];

/// Column of the colon in front of descriptions.
const COLON: usize = 50;

/// The commands of a level.
pub fn help(level: Level) -> String {
    let mut text = String::from("Available sub-commands at this level:\n");
    for node in level {
        text.push('\t');
        line(&mut text, node, COLON - 1);
    }
    text
}

/// All commands.
fn usage() -> String {
    let mut text = String::from("    Supported commands are:\n\n");
    for node in TOP {
        branch(&mut text, node, 4);
        text.push('\n');
    }
    text
}

fn branch(text: &mut String, node: &Node, indent: usize) {
    let _ = write!(text, "{:indent$}", "");
    line(text, node, COLON - indent);
    let (Run::Level(below) | Run::Item(_, below)) = node.run else { return };
    below.iter().for_each(|node| branch(text, node, indent + 4));
}

fn line(text: &mut String, node: &Node, width: usize) {
    let words =
        if node.synopsis.is_empty() { node.word.into() } else { format!("{} {}", node.word, node.synopsis) };
    // Writing to a string cannot fail.
    let _ = match node.help {
        "" => writeln!(text, "{words}"),
        help => writeln!(text, "{words:<width$}: {help}"),
    };
}
