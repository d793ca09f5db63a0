//! S3-compatible object stores: signed requests (AWS signature version 4). An object is stored with one PUT, or in parts
//! ([`super::multipart`]).

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{Context, SHA256, digest};
use aws_lc_rs::hmac;

use super::http::{self, Body, HttpError, HttpMethod, Outgoing, Reply, Verification};

/// A store, and who we are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Store {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path in front of object names; begins and ends with a slash.
    pub path: String,
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: String,
    /// Region.
    pub region: String,
    /// Of the server's certificate.
    pub verification: Verification,
}

impl S3Store {
    /// Stores an object; gives its address. `sha256` is that of the body, in hexadecimal.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub async fn put(&self, name: &str, body: Body, sha256: &str) -> Result<String, HttpError> {
        self.send(HttpMethod::PUT, name, &[], body, sha256).await?;
        Ok(self.address(name))
    }

    /// The address of an object.
    pub fn address(&self, name: &str) -> String {
        let port = if self.port == 443 { String::new() } else { format!(":{}", self.port) };
        format!("https://{}{port}{}{}", self.host, self.path, encode_path(name))
    }

    /// A request about an object; `query` in ascending order of names.
    pub(super) async fn send(
        &self,
        method: HttpMethod,
        name: &str,
        query: &[(&str, &str)],
        body: Body,
        sha256: &str,
    ) -> Result<Reply, HttpError> {
        let path = format!("{}{}", self.path, encode_path(name));
        let query = encode_query(query);
        let mut uri = self.address(name);
        if !query.is_empty() {
            uri = format!("{uri}?{query}");
        }
        let time = BasicTime::from_system(SystemTime::now());
        let authorization = self.authorization(&method, &path, &query, sha256, &time);
        let headers = vec![
            ("host".into(), self.host.clone()),
            ("x-amz-content-sha256".into(), sha256.to_owned()),
            ("x-amz-date".into(), time.date_time.clone()),
            ("authorization".into(), authorization),
            ("content-type".into(), "application/data".into()),
        ];
        let verification = self.verification;
        http::exchange(Outgoing { method, uri, headers, body, verification }).await
    }

    fn authorization(
        &self,
        method: &HttpMethod,
        path: &str,
        query: &str,
        sha256: &str,
        time: &BasicTime,
    ) -> String {
        let signed = "host;x-amz-content-sha256;x-amz-date";
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{}\nx-amz-content-sha256:{sha256}\nx-amz-date:{}\n\n{signed}\n{sha256}",
            self.host, time.date_time
        );
        let scope = format!("{}/{}/s3/aws4_request", time.date, self.region);
        let canonical = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
        let to_sign = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{canonical}", time.date_time);
        let mut key = format!("AWS4{}", self.secret_key).into_bytes();
        for part in [time.date.as_str(), &self.region, "s3", "aws4_request", &to_sign] {
            key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
        }
        let signature = hex(&key);
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={signed},Signature={signature}",
            self.access_key
        )
    }
}

/// Hexadecimal digits.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// SHA-256 of octets in hexadecimal.
pub fn sha256(octets: &[u8]) -> String {
    hex(digest(&SHA256, octets).as_ref())
}

/// The same of octets that come piece by piece.
#[derive(Clone)]
pub struct Sha256(Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Sha256 {
    /// Takes the next octets.
    pub fn update(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }

    /// The checksum in hexadecimal.
    pub fn finish(self) -> String {
        hex(self.0.finish().as_ref())
    }
}

/// `name=value&…`, encoded as signatures want it.
pub(super) fn encode_query(query: &[(&str, &str)]) -> String {
    let encode = |text: &str| encode_path(text).replace('/', "%2F");
    let pairs: Vec<String> =
        query.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

/// Percent-encodes all but unreserved characters and slashes.
pub fn encode_path(name: &str) -> String {
    name.bytes().fold(String::with_capacity(name.len()), |mut text, octet| {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(char::from(octet))
            }
            _ => {
                let _ = write!(text, "%{octet:02X}");
            }
        }
        text
    })
}

/// UTC in ISO 8601's basic form.
struct BasicTime {
    date: String,
    date_time: String,
}

impl BasicTime {
    fn from_system(time: SystemTime) -> Self {
        let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (days, of_day) = (seconds / 86_400, seconds % 86_400);
        // Days from civil, the other way round: years begin in March, eras have 400 years.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        let date = format!("{year:04}{month:02}{day:02}");
        let date_time = format!("{date}T{:02}{:02}{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60);
        Self { date, date_time }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "19700101T000000Z"),
            (951_827_696, "20000229T123456Z"),
            (1_369_353_600, "20130524T000000Z"),
            (4_102_444_799, "20991231T235959Z"),
        ] {
            assert_eq!(BasicTime::from_system(UNIX_EPOCH + Duration::from_secs(seconds)).date_time, expected);
        }
    }

    /// With the key of Amazon's published examples; the value was computed apart from this code (Python's hmac and hashlib).
    #[test]
    fn the_signature_is_that_of_the_algorithm() {
        let store = S3Store {
            host: "examplebucket.s3.amazonaws.com".into(),
            port: 443,
            path: "/".into(),
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            region: "us-east-1".into(),
            verification: Verification::Full,
        };
        let time = BasicTime { date: "20130524".into(), date_time: "20130524T000000Z".into() };
        let sha256 = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
        let authorization = store.authorization(&HttpMethod::PUT, "/test%24file.text", "", sha256, &time);
        assert!(authorization.starts_with(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature="
        ));
        assert!(
            authorization.ends_with("1e15d288c066d54cc20d8f664ade3fa96e6744b2861304671f6eb633045a2d4a"),
            "{authorization}"
        );
    }

    #[test]
    fn queries_are_encoded_as_they_are_signed() {
        assert_eq!(
            encode_query(&[("partNumber", "1"), ("uploadId", "a/b+c=")]),
            "partNumber=1&uploadId=a%2Fb%2Bc%3D"
        );
        assert_eq!(encode_query(&[("uploads", "")]), "uploads=");
    }

    #[test]
    fn object_names_are_encoded() {
        assert_eq!(encode_path("a/call%40host é.wav"), "a/call%2540host%20%C3%A9.wav");
    }
}
