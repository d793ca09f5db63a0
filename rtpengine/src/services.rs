//! The daemon's services, started and stopped in order: workers, recorder, calls, timers, and the ng port last, because
//! whoever gets an answer to `ping` may send calls.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use media_store::library::{Library, LibraryError};
use service::log::LogHandle;
use service::process::notify;
use service::process::scheduling::{self, Role, enter};
use service::process::threads;
use tokio::runtime::{self, Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::call::{AWAY_QUEUE, Engine, Services as CallServices};
use crate::config::{Config, OffloadChoice, PathMtu};
use crate::control::http::{HttpDoor, HttpError, Services as HttpServices};
use crate::control::janus::{self, Janus, NgMedia};
use crate::control::legacy::{Lrkp, LrkpUnixListeners, MediaproxyListeners, Rtpproxy};
use crate::control::ng::client;
use crate::control::ng::events::Events;
use crate::control::ng::tcp::Limits;
use crate::control::ng::{Commands, Responder, TcpListeners, Templates};
use crate::control::operations::Operations;
use crate::control::report::{DtmfLog, Homer, Reporter, run_graphite, start_mqtt};
use crate::control::{Respond, Tos, UdpDoor, UdpListeners, cli_listener::CliListeners, console::Console};
use crate::handover::{self, Giver, Taken};
use crate::media::offload::{Ground, NoFallback};
use crate::media::port_pool::PortPool;
use crate::media::{MediaPlane, tap};
use crate::netfilter::{NetfilterConfig, PortRules};
use crate::persist::{Persistence, ServerError};
use crate::play::encodings::Retention;
use crate::play::{self, KernelStore, Sources};
use crate::proto::dtls::{Identity, IdentityError};
use crate::record::{RecordError, Recorder};

/// Most threads of the control plane beside those of ng over UDP: one for each TCP listener, since commands are carried out in
/// the tasks of connections and take microseconds; what may take longer has threads of its own. A thread too many costs a futile
/// wake-up for each message.
const MAX_CONTROL_THREADS: usize = 4;
/// Events of the data plane that may wait for control.
const EVENT_QUEUE: usize = 4096;
/// Calls that have ended and are still to be told about.
const ENDED_QUEUE: usize = 65_536;
/// Tap ring of a worker, in octets: about a second of 300 calls recorded in both directions.
const TAP_RING: usize = 8 << 20;
/// There while the kernel module is loaded.
const MODULE: &str = "/proc/rtpengine/control";
/// How long requests that are being answered may take when the daemon stops.
const DRAIN: Duration = Duration::from_secs(2);

/// What runs until the daemon ends.
pub struct Services {
    runtime: Runtime,
    engine: Arc<Engine>,
    plane: MediaPlane,
    recorder: Recorder,
    doors: Arc<Mutex<Option<Doors>>>,
    background: Vec<JoinHandle<()>>,
    persistence: Option<Arc<Persistence>>,
    hand_over: HandOver,
    /// Outlives the workers.
    ground: Ground,
}

/// Whether calls come from, or have gone to, another process.
#[derive(Debug, Default)]
struct HandOver {
    /// A former instance has given its calls, and waits.
    taken: Option<Taken>,
    /// The next instance has all calls.
    given: Arc<AtomicBool>,
}

/// What commands come in by.
struct Doors {
    tasks: Vec<JoinHandle<()>>,
    http: Option<HttpDoor>,
    udp: Vec<UdpDoor>,
}

impl Doors {
    /// Nobody comes in any more, and others may listen in our place.
    fn close(self, runtime: &Handle) {
        drop(self.udp);
        self.tasks.iter().for_each(JoinHandle::abort);
        for task in self.tasks {
            // It ends by being aborted, or has ended before.
            let _ = runtime.block_on(task);
        }
        if let Some(http) = self.http {
            http.close();
        }
    }
}

/// Why the services cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    #[error("cannot start the media workers: {0}")]
    Workers(io::Error),
    #[error(transparent)]
    NoFallback(#[from] NoFallback),
    #[error("cannot start the control threads: {0}")]
    Runtime(io::Error),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Recorder(#[from] RecordError),
    #[error("{0}")]
    Listen(io::Error),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("cannot use the files of --mqtt-…: {0}")]
    Mqtt(io::Error),
    #[error("cannot use the hand-over socket {}: {source}", path.display())]
    HandOver { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error(transparent)]
    Persistence(#[from] ServerError),
}

impl Services {
    /// Starts everything; on return the ng ports answer. Operators may change the levels of `log`.
    pub fn start(config: Config, log: LogHandle) -> Result<Self, ServiceError> {
        let config = Arc::new(config);
        let [worker, background] = config.scheduling;
        scheduling::set_policies(worker, background);
        threads::set_stack(config.thread_stack);
        if let Some(path) = config.handover_socket.as_ref().filter(|_| may_use_module(&config))
            && let Err(error) = handover::ask_for_kernel(path)
        {
            tracing::warn!(%error, path = %path.display(), "the running instance's kernel table is taken from it: counters of its last second are lost");
        }
        if let Some((rules, _)) = netfilter_rules(&config) {
            // What a daemon that was killed has left keeps its table from being made anew; a failure shows when rules are made.
            let _ = rules.stop();
        }
        let codecs = std::thread::spawn(codec::self_test::run);
        let identity = Identity::generate(&config.dtls, &config.software_id, SystemTime::now())?;
        let ring = if config.recording.dir.is_some() { TAP_RING } else { 4096 };
        let (producers, mut consumers): (Vec<_>, Vec<_>) =
            (0..config.workers()).map(|_| tap::ring(ring)).unzip();
        // What is forwarded below the workers is not copied by them.
        let below = (config.offload.is_wanted() && config.recording.dir.is_some()).then(|| tap::ring(ring));
        let (recorded_below, consumer) = below.unzip();
        consumers.extend(consumer);
        let ground = Ground::find(&config, recorded_below)?;
        let ladders = ground.ladders(config.workers(), &config.offload);
        let recorder = Recorder::start_above(&config.recording, consumers, ground.kernel_streams())?;
        let (events, receiver) = mpsc::channel(EVENT_QUEUE);
        let library = Arc::new(Library::start(config.library.clone())?);
        let retention = if config.player_cache { Retention::UntilEvicted } else { Retention::WhilePlayed };
        play::set_threads(config.player_threads);
        let kernel_store = ground
            .kernel_media(&config.offload)
            .map(|media| KernelStore::new(media, config.offload.kernel_media));
        let plane =
            MediaPlane::start_above(&config, producers, ladders, events).map_err(ServiceError::Workers)?;
        let ports = (config.port_min, config.port_max);
        let pool = PortPool::new(&config.interfaces, ports, config.tos, &excluded_ports(&config));
        if let Some(chain) = &config.port_chain {
            pool.set_rules(PortRules::start(chain).map_err(ServiceError::Runtime)?);
        }
        if let Some((rules, table)) = netfilter_rules(&config)
            && let Err(error) = rules.start(*table)
        {
            tracing::error!(
                "FAILED TO CREATE NFTABLES CHAINS OR RULES, KERNEL FORWARDING POSSIBLY WON'T WORK: {error}"
            );
        }
        let reporting = &config.reporting;
        let (ended, ended_calls) = mpsc::channel(ENDED_QUEUE);
        let (away, away_requests) = mpsc::channel(AWAY_QUEUE);
        let engine = Arc::new(Engine::new(CallServices {
            ended: Some(ended),
            away: (!config.transcoding.transforms.is_empty()).then_some(away),
            stored: config.redis.is_some(),
            config: config.clone(),
            pool,
            plane: plane.clone(),
            recorder: recorder.clone(),
            sources: Sources::new(library, retention).with_kernel(kernel_store),
            identity,
        }));
        let listeners = config.control.listen_tcp_ng.len();
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(listeners.clamp(1, MAX_CONTROL_THREADS))
            .thread_name("control")
            .thread_stack_size(threads::stack_octets())
            .on_thread_start(|| enter(Role::Background))
            .enable_all()
            .build()
            .map_err(ServiceError::Runtime)?;
        let entered = runtime.enter();
        let told = config.control.events_over_tcp.then(Events::new);
        let dtmf_log =
            DtmfLog::new(config.dtmf.log_destination, told.clone().filter(|_| config.dtmf.over_ng_tcp));
        let playback_events = told.clone().filter(|_| config.control.playback_events);
        let homer = reporting.homer.map(|homer| Arc::new(Homer::start(homer)));
        let (connections, connection_news) = mpsc::channel(janus::NEWS_QUEUE);
        let reporter =
            Reporter::new(&config, log.clone(), dtmf_log, playback_events, connections, homer.clone());
        let mut background = vec![
            tokio::spawn(reporter.run(engine.clone(), receiver, ended_calls)),
            tokio::spawn(client::run(engine.clone(), away_requests, config.control.client)),
            tokio::spawn(alarms(engine.clone())),
            tokio::spawn(tick(engine.clone())),
        ];
        if let Some(interval) = notify::watchdog_interval() {
            background.push(tokio::spawn(sign_of_life(plane.clone(), interval)));
        }
        let mut hand_over = HandOver::default();
        let mut giver = None;
        if let Some(path) = &config.handover_socket {
            // It closes its doors first, so that ours can open. Before Redis is read: what is there of its calls is older.
            hand_over.taken = match handover::take(path, &engine) {
                Ok(taken) => taken,
                Err(error) => {
                    tracing::error!(%error, path = %path.display(), "calls of the running instance cannot be taken over");
                    None
                }
            };
            giver = Some(
                Giver::bind(path).map_err(|source| ServiceError::HandOver { path: path.clone(), source })?,
            );
        }
        let persistence = match config.redis.clone() {
            None => None,
            Some(redis) => {
                let persistence = runtime.block_on(Persistence::connect(engine.clone(), redis))?;
                // Before a door opens: whoever asks for a call finds it.
                runtime.block_on(persistence.restore());
                background.extend(persistence.run());
                Some(persistence)
            }
        };
        engine.finish_left_recordings();
        let operations = Operations::new(engine.clone(), Some(log));
        let operations = Arc::new(match persistence.clone() {
            Some(persistence) => operations.with_persistence(persistence),
            None => operations,
        });
        let commands = Arc::new(Commands::new(engine.clone(), config.ssrc_reporting, operations.clone()));
        let mut templates = Templates::new(config.templates.clone());
        templates.ignore_transport_words = config.ignore_transport_words;
        let mut responder =
            Responder::with_counters(commands.clone(), templates, operations.commands.clone());
        if let (Some(homer), Some(local)) = (homer.filter(|homer| homer.wants_ng()), ng_address(&config)) {
            responder.copy_to(homer, local);
        }
        let responder = Arc::new(responder);
        if let Some(graphite) = reporting.graphite.clone() {
            background.push(tokio::spawn(run_graphite(graphite, operations.statistics.clone())));
        }
        if let Some(mqtt) = reporting.mqtt.clone() {
            start_mqtt(mqtt, operations.statistics.clone()).map_err(ServiceError::Mqtt)?;
        }
        let control = &config.control;
        let tcp = TcpListeners::bind(&control.listen_tcp_ng, control.tos).map_err(ServiceError::Listen)?;
        let udp = UdpListeners::bind("ng", &config.listen_ng, control.tos, control.path_mtu)
            .map_err(ServiceError::Listen)?;
        let media = Arc::new(NgMedia::new(commands, engine.clone()));
        let janus = Arc::new(Janus::new(media, control.janus_secret.clone()));
        background.push(tokio::spawn(Arc::clone(&janus).follow(connection_news)));
        let console: Arc<dyn Console> = operations;
        let cli = CliListeners::bind(&config.listen_cli).map_err(ServiceError::Listen)?;
        let services =
            HttpServices { responder: Arc::clone(&responder), console: Some(Arc::clone(&console)), janus };
        let http = HttpDoor::open(&control.http, config.num_threads, services)?;
        let tos: Tos = {
            let engine = Arc::clone(&engine);
            Arc::new(move || engine.live().control_tos())
        };
        let mut doors = tcp.run(Arc::clone(&responder), told, Limits::default(), Arc::clone(&tos));
        doors.extend(cli.run(&console));
        let mediaproxy = MediaproxyListeners::bind(&control.listen_tcp).map_err(ServiceError::Listen)?;
        doors.extend(mediaproxy.run(&engine));
        let ng = udp;
        let mut udp = Vec::new();
        let unmarked: Tos = Arc::new(|| 0);
        for &address in &control.listen_udp {
            let listeners = UdpListeners::bind("rtpproxy", &[address], 0, PathMtu::System)
                .map_err(ServiceError::Listen)?;
            let responder: Arc<dyn Respond> = Arc::new(Rtpproxy::new(Arc::clone(&engine)));
            udp.push(listeners.run(&responder, runtime.handle(), &unmarked).map_err(ServiceError::Runtime)?);
        }
        if config.lrkp.is_on() {
            let lrkp = || Lrkp::new(Arc::clone(&engine), config.lrkp.clone());
            for &address in &config.lrkp.listen {
                let listeners = UdpListeners::bind("lrkproxy", &[address], 0, PathMtu::System)
                    .map_err(ServiceError::Listen)?;
                let responder: Arc<dyn Respond> = Arc::new(lrkp());
                udp.push(
                    listeners.run(&responder, runtime.handle(), &unmarked).map_err(ServiceError::Runtime)?,
                );
            }
            let sockets = LrkpUnixListeners::bind(&config.lrkp.sockets).map_err(ServiceError::Listen)?;
            doors.extend(sockets.run(&Arc::new(lrkp())));
        }
        // Last: whoever gets an answer to `ping` may count on all other doors.
        let responder: Arc<dyn Respond> = responder;
        udp.push(ng.run(&responder, runtime.handle(), &tos).map_err(ServiceError::Runtime)?);
        drop(entered);
        let missing = codecs.join().unwrap_or_default();
        if !missing.is_empty() {
            tracing::info!("codecs that this machine has no library for: {}", missing.join(", "));
        }
        let doors = Arc::new(Mutex::new(Some(Doors { tasks: doors, http, udp })));
        if let Some(giver) = giver {
            let (engine, doors) = (Arc::clone(&engine), Arc::clone(&doors));
            let (handle, given) = (runtime.handle().clone(), Arc::clone(&hand_over.given));
            let give = move || {
                giver.serve(&engine, &handle, || {
                    let open = doors.lock().unwrap_or_else(PoisonError::into_inner).take();
                    open.into_iter().for_each(|doors| doors.close(&handle));
                    given.store(true, Ordering::Release);
                });
                if given.load(Ordering::Acquire) {
                    // The main thread takes it as any other end.
                    let _ =
                        nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGTERM);
                }
            };
            threads::builder("hand-over").spawn(give).map_err(ServiceError::Runtime)?;
        }
        Ok(Self { runtime, engine, plane, recorder, doors, background, persistence, hand_over, ground })
    }

    /// A former instance has given its calls: this process stands in its place.
    pub fn has_taken_over(&self) -> bool {
        self.hand_over.taken.is_some()
    }

    /// Lets the former instance end; the service manager knows of this one by now.
    pub fn confirm_take_over(&mut self) {
        if let Some(taken) = self.hand_over.taken.take() {
            taken.confirm();
        }
    }

    /// The next instance has all calls: this one ends without a word.
    pub fn is_handed_over(&self) -> bool {
        self.hand_over.given.load(Ordering::Acquire)
    }

    /// Stops in the reverse order: no new requests, calls end, recordings are finished.
    pub fn stop(self) {
        let open = self.doors.lock().unwrap_or_else(PoisonError::into_inner).take();
        open.into_iter().for_each(|doors| doors.close(self.runtime.handle()));
        self.background.iter().for_each(JoinHandle::abort);
        if !self.hand_over.given.load(Ordering::Acquire) {
            if let Some(persistence) = self.persistence {
                self.runtime.block_on(persistence.drain(DRAIN));
            }
            self.engine.shutdown();
            if let Some((rules, _)) = netfilter_rules(self.engine.config())
                && let Err(error) = rules.stop()
            {
                tracing::error!(%error, "netfilter rules stay behind");
            }
        }
        self.plane.shutdown();
        drop(self.ground);
        self.recorder.shutdown();
        self.runtime.shutdown_timeout(DRAIN);
    }
}

async fn alarms(engine: Arc<Engine>) {
    loop {
        let call = engine.alarms.next().await;
        engine.on_alarm(call);
        if engine.has_announcement(call) {
            let engine = engine.clone();
            tokio::task::spawn_blocking(move || engine.announce_recording(call));
        }
    }
}

/// Tells the service manager that control and all workers are alive, as long as that is so. A worker that hangs ends it, and the manager
/// starts the service anew.
async fn sign_of_life(plane: MediaPlane, interval: Duration) {
    let mut turn = tokio::time::interval(interval / 3);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        if plane.is_responsive(interval / 3).await {
            if let Err(error) = notify::alive() {
                tracing::warn!(%error, "cannot tell the service manager that the daemon is alive");
            }
        } else {
            tracing::error!("a media worker does not answer: no sign of life for the service manager");
        }
    }
}

async fn tick(engine: Arc<Engine>) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        second.tick().await;
        engine.tick();
        if engine.identities.is_due(Instant::now()) {
            let engine = engine.clone();
            // Whoever shuts down meanwhile does not need a certificate any more.
            let _ = tokio::task::spawn_blocking(move || engine.renew_identity()).await;
        }
    }
}

/// The rules to be made; none without the kernel module, whose table they would lead to.
fn netfilter_rules(config: &Config) -> Option<&(NetfilterConfig, u8)> {
    config.netfilter.as_ref().filter(|_| may_use_module(config))
}

/// The kernel module is there, and not unwanted.
fn may_use_module(config: &Config) -> bool {
    let is_allowed = matches!(config.offload.choice, OffloadChoice::Auto | OffloadChoice::Module);
    config.offload.is_wanted() && is_allowed && Path::new(MODULE).exists()
}

/// Where ng clients find us.
fn ng_address(config: &Config) -> Option<SocketAddr> {
    let control = &config.control;
    let doors =
        [&config.listen_ng, &control.listen_tcp_ng, &control.http.listen, &control.http.listen_secure];
    doors.into_iter().flatten().next().copied()
}

/// Local addresses with ports that control listeners or the configuration keep from media.
fn excluded_ports(config: &Config) -> Vec<SocketAddr> {
    let mut excluded = Vec::new();
    for interface in &config.interfaces {
        for local in &interface.addresses {
            for exclusion in &config.port_exclusions {
                if config.is_port_excluded(&interface.name, local.address, exclusion.port) {
                    excluded.push(SocketAddr::new(local.address, exclusion.port));
                }
            }
        }
    }
    excluded
}
