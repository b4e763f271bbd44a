//! A server with real sockets; the test is the thread that runs.

use super::super::words::Done;
use super::super::{Place, ask};
use super::*;
use crate::until::until;
use std::io::{BufRead, BufReader};
use tempfile::TempDir;

struct Scene {
    folder: TempDir,
    server: Option<Server>,
    asked: Receiver<Asked>,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = Listener::open(&Place::At(folder.path().join("it.sock"))).unwrap();
        let (server, asked) = listener.serve().unwrap();
        Self { folder, server: Some(server), asked }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("it.sock")
    }

    fn bound(&self) -> String {
        format!("{}/.it.sock", self.folder.path().display())
    }

    fn connect(&self) -> Talk {
        Talk(BufReader::new(UnixStream::connect(self.path()).unwrap()))
    }

    /// Answers one request as a run would.
    fn obey(&self) -> Request {
        let Asked { request, reply } = self.asked.recv_timeout(Duration::from_secs(60)).unwrap();
        reply.send(Reply::Done(Done { value: Some("yes".into()), ..Done::default() })).unwrap();
        request
    }
}

struct Talk(BufReader<UnixStream>);

impl Talk {
    fn say(&mut self, bytes: &[u8]) {
        // A server that has hung up is seen by what it says.
        let _ = self.0.get_mut().write_all(bytes);
    }

    /// Its next line; empty if it has hung up.
    fn hear(&mut self) -> String {
        let mut line = String::new();
        let _ = self.0.read_line(&mut line);
        line
    }

    /// Whether the server still serves this client.
    fn is_served(&mut self, scene: &Scene) -> bool {
        self.say(b"{\"do\":\"status\"}\n");
        scene.obey();
        self.hear() == "{\"done\":{\"lines\":[],\"value\":\"yes\"}}\n"
    }
}

#[test]
fn a_request_reaches_the_run_and_its_answer_the_client() {
    let scene = Scene::new();
    let wanted = Request::Mute { pipeline: "tx".into(), on: true };
    let (path, asks) = (scene.path(), wanted.clone());
    let client = thread::spawn(move || ask(&path, &asks));
    assert_eq!(scene.obey(), wanted);
    let Reply::Done(done) = client.join().unwrap().unwrap() else { panic!("refused") };
    assert_eq!(done.value.as_deref(), Some("yes"));
}

#[test]
fn hostile_lines_are_answered_with_an_error_and_the_next_one_is_served() {
    let scene = Scene::new();
    let mut talk = scene.connect();
    let lines: [&[u8]; 5] =
        [b"nonsense", b"{\"do\":\"mute\"}", b"\xff\xfe\x00", &[b'['; 60_000], b"{\"do\":\"status\",\"x\":1}"];
    for line in lines {
        talk.say(line);
        talk.say(b"\n");
        let answer = talk.hear();
        assert!(
            answer.starts_with("{\"refused\":{\"code\":11,\"kind\":\"control\",\"why\":\"this is no request"),
            "{answer}"
        );
    }
    talk.say(b"\n\n");
    assert!(talk.is_served(&scene));
}

#[test]
fn a_line_without_an_end_is_refused_and_its_client_dropped() {
    let scene = Scene::new();
    let mut talk = scene.connect();
    talk.say(&vec![b' '; LINE_MAX + 8192]);
    assert!(talk.hear().contains("bytes at most"));
    assert_eq!(talk.hear(), "");
    assert!(scene.connect().is_served(&scene));
}

#[test]
fn two_requests_in_one_piece_are_answered_one_after_the_other() {
    let scene = Scene::new();
    let mut talk = scene.connect();
    talk.say(b"{\"do\":\"status\"}\n{\"do\":\"rel");
    scene.obey();
    talk.hear();
    talk.say(b"oad\"}\n");
    assert_eq!(scene.obey(), Request::Reload {});
}

#[test]
fn more_clients_than_it_takes_are_turned_away_until_one_has_gone() {
    let scene = Scene::new();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| scene.connect()).collect();
    assert!(clients.iter_mut().all(|client| client.is_served(&scene)));
    let mut late = scene.connect();
    assert!(late.hear().contains("as many clients as it takes"));
    let mut gone = clients.remove(0);
    gone.0.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(gone.hear(), "", "its thread hangs up and ends");
    let until = Instant::now() + Duration::from_secs(60);
    while !scene.connect().hear_unless_refused(&scene) {
        assert!(Instant::now() < until, "nobody is served any more");
    }
}

impl Talk {
    fn hear_unless_refused(&mut self, scene: &Scene) -> bool {
        self.say(b"{\"do\":\"status\"}\n");
        match scene.asked.recv_timeout(Duration::from_millis(200)) {
            Ok(asked) => asked.reply.send(Reply::done("yes")).is_ok(),
            Err(_) => false,
        }
    }
}

#[test]
fn a_client_that_hangs_up_before_its_answer_does_no_harm() {
    let scene = Scene::new();
    let mut talk = scene.connect();
    talk.say(b"{\"do\":\"status\"}\n");
    let Asked { reply, .. } = scene.asked.recv_timeout(Duration::from_secs(60)).unwrap();
    drop(talk);
    reply.send(Reply::done("nobody hears it")).unwrap();
    assert!(scene.connect().is_served(&scene));
}

#[test]
fn a_client_that_has_gone_holds_no_descriptor_while_nobody_else_comes() {
    let scene = Scene::new();
    let mut talk = scene.connect();
    assert!(talk.is_served(&scene));
    // Those of the server's side bear the name under which it was bound, the listener among them.
    let open = || fs::read_to_string("/proc/net/unix").unwrap().matches(&scene.bound()).count();
    assert_eq!(open(), 2);
    drop(talk);
    until("its connection is closed", || open() == 1);
}

#[test]
fn at_the_end_whoever_waits_is_told_and_the_socket_is_gone() {
    let mut scene = Scene::new();
    let (mut waits, mut idles) = (scene.connect(), scene.connect());
    waits.say(b"{\"do\":\"reload\"}\n");
    let asked = scene.asked.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(scene.connect().is_served(&scene));
    drop(scene.server.take());
    assert!(waits.hear().contains("the run has ended"));
    assert_eq!(idles.hear(), "");
    assert!(!scene.path().exists());
    drop(asked);
}

#[test]
fn at_the_end_what_was_written_ahead_is_not_answered_any_more() {
    const LINES: usize = 10_000;
    let mut scene = Scene::new();
    let mut talk = scene.connect();
    assert!(talk.is_served(&scene));
    // The answers are far more than the socket holds, and nobody reads them yet.
    talk.say(&b"x\n".repeat(LINES));
    scene.server.as_ref().unwrap().is_over.store(true, Ordering::Relaxed);
    let answers = std::iter::repeat_with(|| talk.hear()).take_while(|line| !line.is_empty()).count();
    assert!(answers < LINES, "every line was answered");
    drop(scene.server.take());
}

#[test]
fn without_a_descriptor_for_whoever_knocks_it_tries_again_after_a_while_only() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("it.sock")).unwrap();
    let _knocks = UnixStream::connect(folder.path().join("it.sock")).unwrap();
    let (_end, ended) = UnixStream::pair().unwrap();
    let (asks, _asked) = sync_channel(1);
    let is_over = Arc::new(AtomicBool::new(false));
    let mut refusals = [Errno::MFILE, Errno::NFILE, Errno::MFILE].into_iter();
    let accept = || {
        let refusal = refusals.next().unwrap();
        is_over.store(refusals.len() == 0, Ordering::Relaxed);
        Err(refusal.into())
    };
    let began = Instant::now();
    Front { asks, is_over: Arc::clone(&is_over), clients: Vec::new() }.listen(&listener, &ended, accept);
    assert!(began.elapsed() >= Duration::try_from(DESCRIPTORS_AGAIN).unwrap() * 2);
}

#[test]
fn the_socket_is_its_users_alone() {
    let scene = Scene::new();
    assert_eq!(scene.path().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let (ours, _) = UnixStream::pair().unwrap();
    assert!(is_ours(&ours));
    let names: Vec<_> = fs::read_dir(scene.folder.path()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["it.sock"], "nothing of its making is left");
}

#[test]
fn a_socket_in_use_or_a_file_is_not_replaced_but_that_of_a_killed_run_is() {
    let scene = Scene::new();
    let open = |name: &str| Listener::open(&Place::At(scene.folder.path().join(name)));
    let error = open("it.sock").unwrap_err();
    assert!(error.to_string().contains("something is there already"), "{error}");
    fs::write(scene.folder.path().join("file"), "mine").unwrap();
    assert!(open("file").is_err());
    drop(UnixListener::bind(scene.folder.path().join("dead")).unwrap());
    let replaced = open("dead").unwrap();
    assert!(UnixStream::connect(replaced.path()).is_ok());
}

#[test]
fn a_socket_that_another_run_has_put_in_its_place_stays() {
    let mut scene = Scene::new();
    fs::remove_file(scene.path()).unwrap();
    let other = Listener::open(&Place::At(scene.path())).unwrap();
    drop(scene.server.take());
    assert!(other.path().exists());
}
