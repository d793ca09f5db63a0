//! How values that `serde` does not know are stored for another instance.

/// A point of time, as microseconds since the Unix epoch: clocks of machines agree on that one only.
pub mod instant {
    use std::time::Instant;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{from_unix_us, to_unix_us};

    pub fn serialize<S: Serializer>(at: &Option<Instant>, serializer: S) -> Result<S::Ok, S::Error> {
        at.map(to_unix_us).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Instant>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(from_unix_us))
    }
}

/// The same where there is always one.
pub mod instant_always {
    use std::time::Instant;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{from_unix_us, to_unix_us};

    pub fn serialize<S: Serializer>(at: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
        to_unix_us(*at).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Instant, D::Error> {
        u64::deserialize(deserializer).map(from_unix_us)
    }
}

/// Octets that are mostly text: each is the character of its number.
pub mod octets {
    use std::sync::Arc;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(octets: &Option<Arc<[u8]>>, serializer: S) -> Result<S::Ok, S::Error> {
        let text = octets.as_ref().map(|octets| octets.iter().copied().map(char::from).collect::<String>());
        text.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<[u8]>>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let octets: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
        octets.map(|octets| Some(octets.into())).map_err(D::Error::custom)
    }
}

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch of a point of time.
pub fn to_unix_us(at: Instant) -> u64 {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let wall = match at.checked_duration_since(now) {
        Some(ahead) => wall.checked_add(ahead),
        None => wall.checked_sub(now.saturating_duration_since(at)),
    };
    let since = wall.and_then(|wall| wall.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The way back; what lies beyond the clock's range is now.
pub fn from_unix_us(us: u64) -> Instant {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let Some(at) = UNIX_EPOCH.checked_add(Duration::from_micros(us)) else { return now };
    let moved = match at.duration_since(wall) {
        Ok(ahead) => now.checked_add(ahead),
        Err(behind) => now.checked_sub(behind.duration()),
    };
    moved.unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_of_time_survive_the_way_there_and_back() {
        let now = Instant::now();
        for at in [now, now + Duration::from_secs(90), now - Duration::from_millis(1500)] {
            let back = from_unix_us(to_unix_us(at));
            let error = if back > at { back - at } else { at - back };
            assert!(error < Duration::from_millis(500), "{error:?}");
        }
        from_unix_us(u64::MAX);
    }

    #[test]
    fn octets_of_any_kind_survive() {
        #[derive(serde::Serialize, serde::Deserialize)]
        struct Holder(#[serde(with = "octets")] Option<std::sync::Arc<[u8]>>);
        let all: Vec<u8> = (0..=255).collect();
        let text = serde_json::to_string(&Holder(Some(all.clone().into()))).unwrap();
        assert_eq!(serde_json::from_str::<Holder>(&text).unwrap().0.as_deref(), Some(&all[..]));
        assert!(serde_json::from_str::<Holder>("\"\u{100}\"").is_err());
    }
}
