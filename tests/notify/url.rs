//! A URL that is POSTed to.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::harness::secret::{after_passes, change, generations, scene, until_notified};
use crate::harness::{Scene, lines, side_by_side, sidecar::Sidecar, until};

/// Takes requests, and answers each with the next status, 204 in the end.
struct Listener {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    fn at(address: &str, statuses: &[u16]) -> Self {
        let listener = TcpListener::bind(address).expect("the port is free");
        let address = listener.local_addr().expect("it listens");
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (seen, mut statuses) = (Arc::clone(&heads), statuses.to_vec());
        // Ends with the process of the tests; it gets no request when its test is over.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let status = if statuses.is_empty() { 204 } else { statuses.remove(0) };
                let head = answer(stream, status).unwrap_or_default();
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(head);
            }
        });
        Self { address, heads }
    }

    fn requests(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn url(&self) -> String {
        format!("http://{}/reload?token=secret", self.address)
    }
}

/// Answers a request, and gives its head and all that comes behind it.
fn answer(mut stream: TcpStream, status: u16) -> std::io::Result<String> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    write!(stream, "HTTP/1.1 {status} Said\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    while reader.read_line(&mut head)? > 0 {}
    Ok(head)
}

#[test]
fn a_url_gets_one_post_for_each_change_repeated_until_it_succeeds() {
    let cases: [fn(); 3] =
        [one_post_for_each_change, a_refused_post_is_repeated, the_server_starts_later];
    side_by_side(cases, |case| case());
}

fn sidecar_with_url(scene: &mut Scene, url: &str) -> Sidecar {
    scene.set("SEGURA_NOTIFY_URL", url);
    scene.sidecar()
}

fn one_post_for_each_change() {
    let mut scene = scene();
    let listener = Listener::at("127.0.0.1:0", &[]);
    let sidecar = sidecar_with_url(&mut scene, &listener.url());
    until_notified(&scene);
    change(&scene, "two");
    until("the change is published", || generations(&scene).0 == 2);
    until_notified(&scene);
    change(&scene, "two");
    after_passes(&scene, 2);
    let requests = listener.requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    for request in requests {
        let lower = request.to_ascii_lowercase();
        assert!(request.starts_with("POST /reload?token=secret HTTP/1.1\r\n"), "{request}");
        assert!(lower.contains(&format!("\r\nhost: {}\r\n", listener.address)), "{request}");
        assert!(lower.contains("\r\ncontent-length: 0\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n"), "nothing follows the head: {request}");
    }
    assert_eq!(sidecar.times_logged("token=secret"), 0);
    assert_eq!(sidecar.text_warnings(), Vec::<String>::new());
    sidecar.stop();
}

fn a_refused_post_is_repeated() {
    let mut scene = scene();
    let listener = Listener::at("127.0.0.1:0", &[500, 500, 302]);
    let sidecar = sidecar_with_url(&mut scene, &listener.url());
    sidecar.until_logged("answered 500");
    sidecar.until_logged("answered 302");
    sidecar.until_logged(lines::NOTIFIED_AGAIN);
    until_notified(&scene);
    after_passes(&scene, 2);
    assert_eq!(listener.requests().len(), 4);
    assert_eq!(sidecar.text_warnings().len(), 2, "{:#?}", sidecar.log());
    sidecar.stop();
}

fn the_server_starts_later() {
    let mut scene = scene();
    // An address that nothing else on this machine uses.
    let free = TcpListener::bind("127.0.0.77:0").expect("all of 127/8 is loopback");
    let address = free.local_addr().expect("it listens").to_string();
    drop(free);
    let sidecar = sidecar_with_url(&mut scene, &format!("http://{address}/reload"));
    let line = sidecar.until_logged(lines::NOBODY_LISTENS);
    assert!(line.contains(" INFO "), "{line}");
    after_passes(&scene, 2);
    assert_eq!(generations(&scene), (1, 0));
    let listener = Listener::at(&address, &[]);
    until_notified(&scene);
    assert_eq!(listener.requests().len(), 1);
    assert_eq!(sidecar.text_warnings(), Vec::<String>::new());
    sidecar.stop();
}
