//! Which URLs may be fetched.

use hyper::Uri;

/// A client of the control protocol may name any URL; the operator says which of them are for announcements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UrlRules {
    /// All of HTTP and HTTPS.
    #[default]
    Any,
    /// Those at and below these; none without any.
    Below(Vec<Uri>),
}

/// A rule that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is neither an HTTP URL nor 'any' nor 'none'")]
pub struct InvalidRule(String);

impl UrlRules {
    /// From the words of a list: `any`, `none`, or URLs.
    ///
    /// # Errors
    /// A word is nothing of that.
    pub fn parse<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Self, InvalidRule> {
        let mut below = Vec::new();
        let mut any = false;
        for word in words.into_iter().map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "any" => any = true,
                "none" => {}
                _ => below.push(prefix(word).ok_or_else(|| InvalidRule(word.to_owned()))?),
            }
        }
        Ok(if any { Self::Any } else { Self::Below(below) })
    }

    /// Whether this one may be fetched.
    pub fn allow(&self, url: &Uri) -> bool {
        is_http(url)
            && match self {
                Self::Any => true,
                Self::Below(prefixes) => prefixes.iter().any(|prefix| is_below(url, prefix)),
            }
    }
}

fn prefix(word: &str) -> Option<Uri> {
    let url: Uri = word.parse().ok()?;
    let has_user = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
    (is_http(&url) && !has_user && url.query().is_none() && !climbs(&url)).then_some(url)
}

fn is_http(url: &Uri) -> bool {
    matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
}

/// A server would take the path for another one.
fn climbs(url: &Uri) -> bool {
    let dots = |segment: &str| {
        let plain = segment.replace("%2e", ".").replace("%2E", ".");
        plain == "." || plain == ".."
    };
    let path = url.path();
    path.contains('\\')
        || path.split('/').any(dots)
        || ["%2f", "%2F", "%5c", "%5C"].iter().any(|sign| path.contains(sign))
}

fn port(url: &Uri) -> u16 {
    url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 })
}

/// Same server, and the path is the prefix or continues it behind a slash.
fn is_below(url: &Uri, prefix: &Uri) -> bool {
    let same_host =
        url.host().zip(prefix.host()).is_some_and(|(host, other)| host.eq_ignore_ascii_case(other));
    let same = same_host && url.scheme() == prefix.scheme() && port(url) == port(prefix) && !climbs(url);
    let rest = url.path().strip_prefix(prefix.path());
    same && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.path().ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_allowed_at_and_below_a_prefix_only() {
        let rules = UrlRules::parse(["https://media.example/ivr", " http://10.0.0.1:8080/ "]).expect("rules");
        for (url, allowed) in [
            ("https://media.example/ivr", true),
            ("https://MEDIA.example:443/ivr/a.wav?x=1", true),
            ("https://user:pw@media.example/ivr/a.wav", true),
            ("https://media.example/ivr2/a.wav", false),
            ("https://media.example/ivr/../secret", false),
            ("https://media.example/ivr/%2e%2e/secret", false),
            ("https://media.example.net/ivr/a.wav", false),
            ("https://media.example@evil.net/ivr/a.wav", false),
            ("http://media.example/ivr/a.wav", false),
            ("http://10.0.0.1:8080/anything", true),
            ("http://10.0.0.1/anything", false),
            ("https://media.example/ivr/..%2fsecret", false),
            ("file:///etc/passwd", false),
            ("/etc/passwd", false),
        ] {
            assert_eq!(url.parse().is_ok_and(|parsed| rules.allow(&parsed)), allowed, "{url}");
        }
    }

    #[test]
    fn words_stand_for_all_and_nothing() {
        let url = |text: &str| text.parse::<Uri>().expect("a URL");
        assert_eq!(UrlRules::parse(["none"]), Ok(UrlRules::Below(Vec::new())));
        assert!(!UrlRules::Below(Vec::new()).allow(&url("http://a/b")));
        assert_eq!(UrlRules::parse(["http://a/", "any"]), Ok(UrlRules::Any));
        assert!(UrlRules::Any.allow(&url("http://a/b")) && !UrlRules::Any.allow(&url("ftp://a/b")));
        for word in ["media.example", "ftp://media.example/", "http://u:p@media.example/", "http://a/?q"] {
            assert_eq!(UrlRules::parse([word]), Err(InvalidRule(word.into())));
        }
    }
}
