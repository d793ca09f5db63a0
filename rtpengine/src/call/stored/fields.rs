//! Members of dictionaries that hold text only.

use std::collections::HashMap;
use std::str::FromStr;

use super::read::RestoreError;
use crate::proto::value::{Dict, Value};

/// Adds members.
pub trait Put {
    /// As the text of a value.
    fn text(&mut self, key: &str, value: impl ToString) -> &mut Self;
    /// As the text of a value, if there is one.
    fn optional(&mut self, key: &str, value: Option<impl ToString>) -> &mut Self;
    /// 0 or 1.
    fn flag(&mut self, key: &str, value: bool) -> &mut Self;
}

impl Put for Dict {
    fn text(&mut self, key: &str, value: impl ToString) -> &mut Self {
        self.push(key, value.to_string())
    }

    fn optional(&mut self, key: &str, value: Option<impl ToString>) -> &mut Self {
        match value {
            Some(value) => self.text(key, value),
            None => self,
        }
    }

    fn flag(&mut self, key: &str, value: bool) -> &mut Self {
        self.push(key, if value { "1" } else { "0" })
    }
}

/// A list of texts.
pub fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> Value {
    Value::List(items.into_iter().map(|item| item.to_string().into()).collect())
}

/// The members of a dictionary by name; of several with the same name the last one counts.
pub struct Fields<'d> {
    members: HashMap<&'d [u8], &'d Value>,
    /// What is missing when something is missing.
    part: &'static str,
}

impl<'d> Fields<'d> {
    /// Of the whole call.
    pub fn whole(dict: &'d Dict) -> Self {
        Self::new(dict, "'call' data incomplete")
    }

    fn new(dict: &'d Dict, part: &'static str) -> Self {
        Self { members: dict.0.iter().map(|(key, value)| (key.as_slice(), value)).collect(), part }
    }

    /// The dictionary under a name.
    pub fn dict(&self, name: &str, part: &'static str) -> Result<Fields<'d>, RestoreError> {
        match self.members.get(name.as_bytes()) {
            Some(Value::Dict(dict)) => Ok(Fields::new(dict, part)),
            _ => Err(RestoreError(part)),
        }
    }

    /// The texts of a list; a missing one is empty.
    pub fn list(&self, name: &str) -> Vec<&'d str> {
        match self.members.get(name.as_bytes()) {
            Some(Value::List(items)) => {
                items.iter().filter_map(|item| std::str::from_utf8(item.as_bytes()?).ok()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Octets.
    pub fn octets(&self, name: &str) -> Option<&'d [u8]> {
        self.members.get(name.as_bytes())?.as_bytes()
    }

    /// Text, if it is there.
    pub fn text(&self, name: &str) -> Option<&'d str> {
        std::str::from_utf8(self.octets(name)?).ok()
    }

    /// A value, if it is there and has the form of one.
    pub fn get<T: FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    /// A value that has to be there.
    pub fn need<T: FromStr>(&self, name: &str) -> Result<T, RestoreError> {
        self.get(name).ok_or(RestoreError(self.part))
    }

    /// 0 or 1; missing is 0.
    pub fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text != "0")
    }

    /// A value of the model, from its state.
    pub fn state<T: serde::de::DeserializeOwned>(&self) -> Result<T, RestoreError> {
        let text = self.text("state").ok_or(RestoreError(self.part))?;
        serde_json::from_str(text).map_err(|error| {
            tracing::debug!(%error, part = self.part, "state of a stored call");
            RestoreError(self.part)
        })
    }
}
