//! Requests of the video room plugin.

use serde_json::{Value, json};

use super::envelope::{Failure, Reply, Request};
use super::state::{Role, State};
use super::streams::{self, Wanted};
use super::{Janus, number};

/// Publishers of a room unless its creator says otherwise.
const PUBLISHERS: u64 = 3;

impl Janus {
    /// Carries out a room request. The slower ones are acknowledged first; their reply goes the way of events.
    pub(super) fn message(
        &self,
        state: &mut State,
        request: &Request,
        handle: u64,
        body: &Value,
    ) -> Result<Reply, Failure> {
        let name = body.get("request").and_then(Value::as_str);
        let name = name.ok_or_else(|| Failure::missing("message.request").of_plugin())?;
        let jsep = request.body.get("jsep");
        let data = |data: Value| Reply::new("success").with_data(data);
        let later = match name {
            "create" => return self.create(state, handle, body).map(data).map_err(Failure::of_plugin),
            "exists" => {
                let room = number(body.get("room")).unwrap_or(0);
                let exists = state.room(room).is_some();
                return Ok(data(json!({"videoroom": "success", "room": room, "exists": exists})));
            }
            "destroy" => return self.destroy(state, body).map(data).map_err(Failure::of_plugin),
            "join" => self.join(state, handle, body),
            "configure" => self.configure(state, handle, body, jsep),
            "start" => self.start(state, handle, body, jsep),
            "unpublish" => self.unpublish(state, handle),
            _ => return Err(Failure::new(423, "Unknown videoroom request").of_plugin()),
        };
        let reply = later.unwrap_or_else(|failure| Reply::from(failure.of_plugin()));
        let text = reply.render(Some(&request.transaction), request.session, Some(handle));
        state.send(request.session.unwrap_or_default(), &text);
        Ok(Reply::new("ack"))
    }

    fn create(&self, state: &mut State, handle: u64, body: &Value) -> Result<Value, Failure> {
        if state.handle(handle).is_some_and(|handle| handle.room().is_some()) {
            return Err(Failure::new(436, "User already exists in a room"));
        }
        let wanted = match body.get("room") {
            None => None,
            given => Some(number(given).ok_or(Failure::new(512, "Invalid room ID requested"))?),
        };
        if wanted.is_some_and(|wanted| state.room(wanted).is_some()) {
            return Err(Failure::new(512, "Requested room already exists"));
        }
        let publishers = number(body.get("publishers")).unwrap_or(PUBLISHERS);
        let room = state.create_room(wanted, usize::try_from(publishers).unwrap_or(usize::MAX))?;
        Ok(json!({"videoroom": "created", "room": room, "permanent": false}))
    }

    fn destroy(&self, state: &mut State, body: &Value) -> Result<Value, Failure> {
        let room = number(body.get("room")).filter(|room| state.destroy_room(*room));
        let room = room.ok_or(Failure::NO_ROOM)?;
        self.media.end(room);
        Ok(json!({"videoroom": "destroyed", "room": room, "permanent": false}))
    }

    fn join(&self, state: &mut State, handle: u64, body: &Value) -> Result<Reply, Failure> {
        let kind =
            body.get("ptype").and_then(Value::as_str).ok_or_else(|| Failure::missing("message.ptype"))?;
        if !["publisher", "subscriber", "listener"].contains(&kind) {
            return Err(Failure::new(430, "Invalid 'ptype'"));
        }
        let room = number(body.get("room")).filter(|room| state.room(*room).is_some());
        let room = room.ok_or(Failure::NO_ROOM)?;
        let present = state.handle(handle).and_then(|handle| Some((handle.room()?, handle.role()?)));
        match present {
            Some((other, _)) if other != room => {
                return Err(Failure::new(436, "User already exists in another room"));
            }
            Some((_, Role::Publisher { .. })) => {
                return Err(Failure::new(436, "User already exists in the room as a publisher"));
            }
            Some((_, Role::Subscriber)) if kind == "publisher" => {
                return Err(Failure::new(436, "User already exists in the room as a subscriber"));
            }
            _ => {}
        }
        if kind == "publisher" {
            join_as_publisher(state, handle, room, body)
        } else {
            self.join_as_subscriber(state, handle, room, body)
        }
    }

    fn join_as_subscriber(
        &self,
        state: &mut State,
        handle: u64,
        room: u64,
        body: &Value,
    ) -> Result<Reply, Failure> {
        let (feeds, is_single) = wanted_feeds(body)?;
        let publishers =
            feeds.iter().map(|feed| publisher(state, room, *feed)).collect::<Result<Vec<_>, _>>()?;
        let is_plain = body.get("plain").and_then(Value::as_bool).unwrap_or(false);
        let offer = self.media.subscribe(room, handle, &publishers, is_plain).map_err(refused)?;
        state.join_room(handle, room, Role::Subscriber);
        let mut data = json!({"videoroom": "attached", "room": room});
        if is_single {
            data["id"] = json!(feeds.first());
        } else {
            let streams = feeds.iter().enumerate().map(|(i, feed)| json!({"mindex": i, "feed_id": feed}));
            data["streams"] = streams.collect();
        }
        Ok(Reply::new("event").with_data(data).with("jsep", json!({"type": "offer", "sdp": offer})))
    }

    fn configure(
        &self,
        state: &mut State,
        handle: u64,
        body: &Value,
        jsep: Option<&Value>,
    ) -> Result<Reply, Failure> {
        let present = state.handle(handle).and_then(|handle| Some((handle.room()?, handle.role()?.clone())));
        let (room, role) = present.ok_or(Failure::new(512, "Not in the room"))?;
        if number(body.get("room")).is_some_and(|named| named != room) {
            return Err(Failure::new(512, "Not in the room"));
        }
        let Role::Publisher { feed, entry, offer } = role else {
            return Err(Failure::new(512, "Not a publisher"));
        };
        let offer = match jsep {
            Some(jsep) => description(jsep, "offer", Failure::new(512, "Not an offer"))?.to_owned(),
            None if entry.is_null() => return Err(Failure::new(512, "Not an existing publisher")),
            None => offer.unwrap_or_default(),
        };
        let wants = |kind: &str| body.get(kind).and_then(Value::as_bool);
        let wanted = Wanted { audio: wants("audio"), video: wants("video") };
        let answer = self.media.publish(room, handle, &streams::restrict(&offer, wanted)).map_err(refused)?;
        let entry = streams::entry(feed, &answer, wanted);
        let mut data = json!({"videoroom": "event", "room": room, "configured": "ok"});
        for key in ["streams", "audio_codec", "video_codec"] {
            if let Some(value) = entry.get(key) {
                data[key] = value.clone();
            }
        }
        state.join_room(handle, room, Role::Publisher { feed, entry: entry.clone(), offer: Some(offer) });
        let told = json!({"videoroom": "event", "room": room, "publishers": [entry]});
        state.tell_publishers(room, handle, &told);
        let reply = Reply::new("event").with_data(data);
        Ok(if jsep.is_some() { reply.with("jsep", json!({"type": "answer", "sdp": answer})) } else { reply })
    }

    fn start(
        &self,
        state: &mut State,
        handle: u64,
        body: &Value,
        jsep: Option<&Value>,
    ) -> Result<Reply, Failure> {
        let answer = description(jsep.unwrap_or(&Value::Null), "answer", Failure::new(456, "Not an answer"))?;
        let room = number(body.get("room")).filter(|room| state.room(*room).is_some());
        let room = room.ok_or(Failure::NO_ROOM)?;
        let present = state.handle(handle).filter(|handle| handle.room() == Some(room));
        if !matches!(present.and_then(|handle| handle.role()), Some(Role::Subscriber)) {
            return Err(Failure::new(456, "Not a subscriber"));
        }
        self.media.answer(room, handle, answer).map_err(refused)?;
        let data = json!({"videoroom": "event", "room": room, "started": "ok"});
        Ok(Reply::new("event").with_data(data))
    }

    fn unpublish(&self, state: &mut State, handle: u64) -> Result<Reply, Failure> {
        let present = state.handle(handle).and_then(|handle| Some((handle.room()?, handle.role()?)));
        match present {
            None => return Err(Failure::new(512, "Not in any room")),
            Some((room, _)) if state.room(room).is_none() => return Err(Failure::NO_ROOM),
            Some((_, Role::Subscriber)) => return Err(Failure::new(512, "Not a publisher")),
            Some((_, Role::Publisher { .. })) => {}
        }
        let room = present.map(|(room, _)| room).unwrap_or_default();
        self.leave(state, handle, "unpublished");
        let data = json!({"videoroom": "event", "room": room, "unpublished": "ok"});
        Ok(Reply::new("event").with_data(data))
    }
}

fn join_as_publisher(state: &mut State, handle: u64, room: u64, body: &Value) -> Result<Reply, Failure> {
    let feeds = state.room(room).map(|room| (&room.feeds, room.publishers));
    let (feeds, limit) = feeds.ok_or(Failure::NO_ROOM)?;
    if feeds.len() >= limit {
        return Err(Failure::new(432, "Maximum number of publishers already reached"));
    }
    let feed = match number(body.get("id")) {
        Some(feed) if feeds.contains_key(&feed) => {
            return Err(Failure::new(436, "User ID already exists in the room"));
        }
        Some(feed) => feed,
        None => super::state::free_id(|feed| feeds.contains_key(&feed)),
    };
    let others = state.publishers(room, handle);
    state.join_room(handle, room, Role::Publisher { feed, entry: Value::Null, offer: None });
    let data = json!({"videoroom": "joined", "room": room, "id": feed, "publishers": others});
    Ok(Reply::new("event").with_data(data))
}

/// Distinct feeds in the order asked for, and whether it is the single one of `feed`.
fn wanted_feeds(body: &Value) -> Result<(Vec<u64>, bool), Failure> {
    if let Some(feed) = body.get("feed") {
        let feed = number(Some(feed)).ok_or(Failure::new(456, "Invalid feed"))?;
        return Ok((vec![feed], true));
    }
    let streams = body.get("streams").and_then(Value::as_array);
    let streams = streams.filter(|streams| !streams.is_empty());
    let mut feeds = Vec::new();
    for stream in streams.ok_or_else(|| Failure::missing("message.feed"))? {
        let feed = number(stream.get("feed")).ok_or(Failure::new(456, "Invalid feed"))?;
        if !feeds.contains(&feed) {
            feeds.push(feed);
        }
    }
    Ok((feeds, false))
}

/// The handle that publishes a feed.
fn publisher(state: &State, room: u64, feed: u64) -> Result<u64, Failure> {
    let handle = state.room(room).and_then(|room| room.feeds.get(&feed)).copied();
    let handle = handle.ok_or(Failure::new(512, "No such feed exists"))?;
    match state.handle(handle).and_then(|handle| handle.role()) {
        None => Err(Failure::new(512, "No such feed handle exists")),
        Some(Role::Publisher { entry, .. }) if !entry.is_null() => Ok(handle),
        Some(_) => Err(Failure::new(512, "Feed not found")),
    }
}

/// The SDP of a `jsep` object of the wanted type.
fn description<'a>(jsep: &'a Value, wanted: &str, other: Failure) -> Result<&'a str, Failure> {
    let sdp = jsep.get("sdp").and_then(Value::as_str);
    match jsep.get("type").and_then(Value::as_str) {
        Some(kind) if kind != wanted => Err(other),
        Some(_) | None => sdp.filter(|_| jsep.get("type").is_some()).ok_or(Failure::new(456, "No SDP")),
    }
}

/// What the media side said no to.
fn refused(reason: String) -> Failure {
    Failure::new(512, reason)
}
