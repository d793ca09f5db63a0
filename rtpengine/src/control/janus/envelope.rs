//! What stands around every request and reply.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{PLUGIN, Path, number};

/// A request that has what every request needs.
#[derive(Debug)]
pub(super) struct Request {
    pub verb: String,
    pub transaction: String,
    pub session: Option<u64>,
    pub handle: Option<u64>,
    /// The whole object.
    pub body: Map<String, Value>,
}

/// Code and reason of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    code: u16,
    reason: Cow<'static, str>,
    /// Errors of the plugin carry its name.
    is_plugins: bool,
}

impl Request {
    /// Reads a request; what it says goes before what the path says.
    pub fn parse(text: &[u8], path: Path) -> Result<Self, Failure> {
        let Ok(value) = serde_json::from_slice::<Value>(text) else {
            return Err(Failure::new(454, "Failed to parse JSON"));
        };
        let Value::Object(body) = value else {
            return Err(Failure::new(455, "JSON string is not an object"));
        };
        let text = |key: &str| match body.get(key) {
            Some(Value::String(text)) => Ok(text.clone()),
            _ => Err(Failure::missing(key)),
        };
        Ok(Request {
            verb: text("janus")?,
            transaction: text("transaction")?,
            session: number(body.get("session_id")).or(path.session),
            handle: number(body.get("handle_id")).or(path.handle),
            body,
        })
    }
}

impl Failure {
    pub const SECRET: Failure = Failure::fixed(403, "Janus 'admin_secret' key not provided or incorrect");
    pub const NO_TOKEN: Failure = Failure::fixed(456, "JSON object does not contain 'token' key");
    pub const NO_BODY: Failure = Failure::fixed(456, "JSON object does not contain 'body' key");
    pub const NO_PLUGIN: Failure = Failure::fixed(456, "No plugin given");
    pub const UNHANDLED: Failure = Failure::fixed(457, "Unhandled request method");
    pub const NO_HANDLE: Failure = Failure::fixed(457, "No plugin handle given");
    pub const NO_SESSION: Failure = Failure::fixed(458, "Session ID not found");
    pub const OTHER_PLUGIN: Failure = Failure::fixed(460, "Unsupported plugin");
    pub const NOT_DETACHED: Failure = Failure::fixed(463, "Could not detach handle from plugin");
    pub const TRANSPORT: Failure = Failure::fixed(450, "Unsupported transport protocol");
    pub const BAD_HANDLE: Failure = Failure::fixed(457, "No plugin handle given or invalid handle");
    pub const NO_ROOM: Failure = Failure::fixed(426, "No such room");
    pub const TOO_MANY: Failure = Failure::fixed(512, "Too many sessions, handles, rooms or tokens");

    const fn fixed(code: u16, reason: &'static str) -> Self {
        Failure { code, reason: Cow::Borrowed(reason), is_plugins: false }
    }

    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Failure { code, reason: reason.into(), is_plugins: false }
    }

    /// A key that must be there.
    pub fn missing(key: &str) -> Self {
        Failure::new(456, format!("JSON object does not contain '{key}' key"))
    }

    /// The same as an error of the plugin.
    pub fn of_plugin(mut self) -> Self {
        self.is_plugins = true;
        self
    }
}

/// A reply or event: the verb's own keys, then the envelope.
#[derive(Debug)]
pub(super) struct Reply {
    kind: &'static str,
    own: Map<String, Value>,
    error: Option<Value>,
}

impl Reply {
    pub fn new(kind: &'static str) -> Self {
        Reply { kind, own: Map::new(), error: None }
    }

    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.own.insert(key.to_owned(), value);
        self
    }

    /// Data of the plugin.
    pub fn with_data(self, data: Value) -> Self {
        self.with("plugindata", json!({"plugin": PLUGIN, "data": data}))
    }

    pub fn is_ack(&self) -> bool {
        self.kind == "ack"
    }

    /// The text that is sent.
    pub fn render(self, transaction: Option<&str>, session: Option<u64>, sender: Option<u64>) -> String {
        let mut all = self.own;
        all.insert("janus".into(), json!(self.kind));
        let rest = [
            ("error", self.error),
            ("transaction", transaction.map(Value::from)),
            ("session_id", session.map(Value::from)),
            ("sender", sender.map(Value::from)),
        ];
        all.extend(rest.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        Value::Object(all).to_string()
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        let reply = Reply::new("error");
        let mut reply = if failure.is_plugins { reply.with_data(json!({})) } else { reply };
        reply.error = Some(json!({"code": failure.code, "reason": failure.reason}));
        reply
    }
}
