//! Call-backs by XML-RPC: a proxy is told that a call timed out, so that it can end the dialogue.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use media_store::sink::http::{Verification, tls};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::call::{EndedReport, PartyDump};
use crate::config::{XmlRpcConfig, XmlRpcFormat};

/// Between requests.
const PAUSE: Duration = Duration::from_millis(10);
/// For one request.
const LIMIT: Duration = Duration::from_secs(5);
const ATTEMPTS: usize = 3;
/// Octets of a reply that are looked at.
const MAX_REPLY: usize = 64 << 10;

/// The requests about one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    call_id: String,
    url: String,
    bodies: Vec<String>,
}

/// What is to be sent; `None` when there is nobody to send it to.
pub fn calls(config: &XmlRpcConfig, report: &EndedReport) -> Option<Calls> {
    let call = &report.call;
    let url = if config.url.contains("%%") {
        let address = report.callback.or_else(|| Some(call.created_from?.ip()))?;
        let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
        config.url.replace("%%", &host)
    } else {
        config.url.clone()
    };
    let parties = || call.parties.iter().filter(|party| !party.tag.is_empty());
    let bodies = match config.format {
        XmlRpcFormat::Sems => {
            let body = |party: &PartyDump| method("di", &["sbc", "postControlCmd", &party.tag, "teardown"]);
            parties().map(body).collect()
        }
        XmlRpcFormat::CallId => vec![method("teardown", &[&call.id])],
        XmlRpcFormat::Kamailio => {
            let mut pairs: Vec<(&str, &str)> = Vec::new();
            for party in parties() {
                for other in party.hears.iter().map(|other| other.tag.as_str()).filter(|tag| !tag.is_empty())
                {
                    let pair = (party.tag.as_str(), other);
                    if !pairs.contains(&pair) && !pairs.contains(&(pair.1, pair.0)) {
                        pairs.push(pair);
                    }
                }
            }
            pairs.iter().map(|(from, to)| method("dlg.terminate_dlg", &[&call.id, from, to])).collect()
        }
    };
    Some(Calls { call_id: call.id.to_string(), url, bodies })
}

fn method(name: &str, parameters: &[&str]) -> String {
    let parameter =
        |text: &&str| format!("<param><value><string>{}</string></value></param>\r\n", escaped(text));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<methodCall>\r\n<methodName>{name}</methodName>\r\n<params>\r\n{}\
         </params>\r\n</methodCall>\r\n",
        parameters.iter().map(parameter).collect::<String>()
    )
}

fn escaped(text: &str) -> String {
    text.chars()
        // Control characters are not allowed in XML 1.0.
        .filter(|each| !each.is_control())
        .fold(String::with_capacity(text.len()), |mut out, each| {
            match each {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                other => out.push(other),
            }
            out
        })
}

impl Calls {
    /// Sends the requests one after the other, each again if it fails.
    pub async fn carry_out(self) {
        for (number, body) in self.bodies.iter().enumerate() {
            if number > 0 {
                sleep(PAUSE).await;
            }
            for attempt in 1..=ATTEMPTS {
                let cause = match timeout(LIMIT, call(&self.url, body)).await {
                    Ok(Ok(())) => break,
                    Ok(Err(cause)) => cause,
                    Err(_) => io::ErrorKind::TimedOut.into(),
                };
                let call_id = self.call_id.as_str();
                tracing::warn!(call_id, url = self.url, attempt, %cause, "XML-RPC call-back failed");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn call(url: &str, body: &str) -> io::Result<()> {
    let text = post(url, "text/xml", body).await?.to_ascii_lowercase();
    // A dialogue that is gone is what was wanted.
    let is_gone = text.contains("dialog") && text.contains("not found");
    if text.contains("<fault>") && !is_gone {
        return Err(io::Error::other("the reply is a fault"));
    }
    Ok(())
}

/// The body of the reply to a POST.
pub(super) async fn post(url: &str, content_type: &'static str, body: &str) -> io::Result<String> {
    let uri: Uri = url.parse().map_err(io::Error::other)?;
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{what} in {url}"));
    let host = uri.host().ok_or_else(|| invalid("no host"))?;
    let is_secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(invalid("neither http nor https")),
    };
    let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port)).await?;
    if is_secure {
        let stream = tls::connect(bare, stream, Verification::None).await?;
        exchange(stream, &uri, content_type, body).await
    } else {
        exchange(stream, &uri, content_type, body).await
    }
}

async fn exchange<S>(stream: S, uri: &Uri, content_type: &'static str, body: &str) -> io::Result<String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::post(path)
        .header(HOST, uri.authority().map_or("", |authority| authority.as_str()))
        .header(CONTENT_TYPE, content_type)
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .map_err(io::Error::other)?;
    let reply = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = reply.status();
    let text =
        Limited::new(reply.into_body(), MAX_REPLY).collect().await.map_err(io::Error::other)?.to_bytes();
    connection.abort();
    if !status.is_success() {
        return Err(io::Error::other(format!("status {status}")));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::cdr::tests::report;
    use super::*;
    use crate::call::EndReason;

    fn made(format: XmlRpcFormat, url: &str) -> Calls {
        let config = XmlRpcConfig { url: url.into(), format };
        calls(&config, &report(EndReason::Timeout)).expect("an address")
    }

    #[test]
    fn each_format_says_what_its_proxy_needs() {
        let sems = made(XmlRpcFormat::Sems, "http://%%:8090/cb");
        assert_eq!((sems.url.as_str(), sems.bodies.len()), ("http://127.0.0.1:8090/cb", 2));
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<methodCall>\r\n<methodName>di</methodName>\r\n\
            <params>\r\n<param><value><string>sbc</string></value></param>\r\n\
            <param><value><string>postControlCmd</string></value></param>\r\n\
            <param><value><string>ft1</string></value></param>\r\n\
            <param><value><string>teardown</string></value></param>\r\n</params>\r\n</methodCall>\r\n";
        assert_eq!(sems.bodies[0], expected);
        let by_id = made(XmlRpcFormat::CallId, "http://h/");
        assert_eq!(by_id.bodies, [method("teardown", &["call-1@host/x"])]);
        let kamailio = made(XmlRpcFormat::Kamailio, "http://h/");
        assert_eq!(kamailio.bodies, [method("dlg.terminate_dlg", &["call-1@host/x", "ft1", "tt1"])]);
    }

    #[test]
    fn tags_cannot_break_out_of_their_place() {
        assert!(method("m", &["<a>&\u{1}"]).contains("<string>&lt;a&gt;&amp;</string>"));
    }
}
