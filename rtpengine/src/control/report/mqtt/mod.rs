//! MQTT (3.1.1): statistics and calls as JSON messages, once an interval.
//!
//! One task keeps the connection, another makes and hands over messages. While there is no connection none are made: they would be
//! about the past when somebody could read them.

mod messages;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, Incoming, MqttOptions, PublishOptions, QoS};
use tokio::time::{MissedTickBehavior, timeout};

use self::messages::Messages;
use crate::config::{MqttConfig, MqttScope};
use crate::control::statistics::Statistics;

/// Between attempts to connect.
const RETRY: Duration = Duration::from_secs(1);
/// Messages that wait to be written.
const QUEUE: usize = 64;
/// Longest message.
const MAX_MESSAGE: usize = 256 << 20;

/// Statistics and all own calls as one JSON object, without rates.
pub fn live(statistics: &Statistics) -> String {
    Messages::new(MqttScope::Global).make(statistics).pop().unwrap_or_default()
}

/// Publishes until it is aborted.
///
/// # Errors
/// When files of `mqtt-cafile`, `mqtt-capath`, `mqtt-certfile` or `mqtt-keyfile` cannot be used.
pub fn start(config: MqttConfig, statistics: Arc<Statistics>) -> std::io::Result<()> {
    let id = config.client_id.clone().unwrap_or_else(|| format!("rtpengine-{:016x}", rand::random::<u64>()));
    let mut options = MqttOptions::new(id, (config.host.clone(), config.port));
    options.set_keep_alive(config.keepalive_s).set_clean_session(true);
    options.set_max_packet_size(1 << 20, MAX_MESSAGE);
    if let Some(user) = &config.user {
        options.set_credentials(user.clone(), config.password.clone().into_bytes());
    }
    if let Some(files) = &config.tls {
        let connector = tls::connector(files)?;
        let host = config.host.clone();
        options.set_socket_connector(move |address, network| {
            tls::connect(connector.clone(), host.clone(), address, network)
        });
    }
    let (client, connection) = AsyncClient::builder(options).capacity(QUEUE).build();
    let is_connected = Arc::new(AtomicBool::new(false));
    tokio::spawn(keep_connected(
        connection,
        is_connected.clone(),
        format!("{}:{}", config.host, config.port),
    ));
    tokio::spawn(publish(config, statistics, client, is_connected));
    Ok(())
}

async fn keep_connected(mut connection: EventLoop, is_connected: Arc<AtomicBool>, broker: String) {
    loop {
        match connection.poll().await {
            Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                tracing::info!("connected to the MQTT broker at {broker}");
                is_connected.store(true, Relaxed);
            }
            Ok(_) => {}
            Err(error) => {
                is_connected.store(false, Relaxed);
                tracing::error!(limit = true, %error, "no connection to the MQTT broker at {broker}");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn publish(
    config: MqttConfig,
    statistics: Arc<Statistics>,
    client: AsyncClient,
    is_connected: Arc<AtomicBool>,
) {
    let quality_of_service = match config.quality_of_service {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    };
    let mut messages = Messages::new(config.scope);
    let mut interval = tokio::time::interval(config.interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if !is_connected.load(Relaxed) {
            continue;
        }
        let mut left = messages.make(&statistics).into_iter();
        let hand_over = async {
            for message in left.by_ref() {
                let options = PublishOptions::new(quality_of_service);
                if let Err(error) = client.publish(config.topic.as_str(), message, options).await {
                    tracing::error!(limit = true, %error, "cannot publish to '{}'", config.topic);
                    return;
                }
            }
        };
        // What a broker does not take within an interval is out of date.
        if timeout(config.interval, hand_over).await.is_err() {
            let lost = left.len() + 1;
            tracing::warn!(limit = true, lost, "the MQTT broker does not take messages fast enough");
        }
    }
}
