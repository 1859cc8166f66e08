//! Notification by a URL.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers one request; returns its head.
async fn answer(listener: &TcpListener, status: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let reply = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(reply.as_bytes()).await.unwrap();
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn a_url_is_posted_to_and_any_2xx_is_a_success() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let log = Log::start();
    let mut notifier = real(by_url(&format!("http://localhost:{port}/reload?token=x")));
    for (generation, status) in [(1, "204 No Content"), (2, "200 OK"), (3, "299 Fine")] {
        notifier.publish_now(generation);
        let (head, ()) = tokio::join!(answer(&listener, status), notifier.notifies(generation));
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("post /reload?token=x http/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nhost: localhost:{port}\r\n")), "{head}");
        assert!(head.contains("\r\ncontent-length: 0\r\n"), "{head}");
    }
    notifier.publish_now(4);
    tokio::select! {
        notified = notifier.notified() => panic!("{notified}"),
        _ = async {
            answer(&listener, "500 Oops").await;
            until("it is logged", || log.count("answered 500") == 1).await;
        } => {}
    }
    notifier.stays_pending().await;
    notifier.pass();
    tokio::join!(answer(&listener, "204 No Content"), notifier.notifies(4));
    assert_eq!((log.count("WARN"), log.count("can be notified again")), (1, 1));
    assert_eq!(log.count("token"), 0, "only scheme, host and port are shown");
}

#[tokio::test]
async fn a_url_without_a_server_is_tried_again_at_passes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let log = Log::start();
    let mut notifier = real(by_url(&format!("http://{address}/")));
    notifier.publish_now(1);
    notifier.works_until("it is logged", || log.count("no server listens at") == 1).await;
    notifier.stays_pending().await;
    let listener = TcpListener::bind(address).await.unwrap();
    notifier.stays_pending().await;
    notifier.pass();
    tokio::join!(answer(&listener, "200 OK"), notifier.notifies(1));
    assert_eq!((log.count("WARN"), log.count("no server listens at")), (0, 1));
}

#[tokio::test]
async fn a_url_that_does_not_answer_or_speaks_no_http_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let log = Log::start();
    let mut notifier = real_within(by_url(&url), QUICK);
    notifier.publish_now(1);
    notifier.works_until("it is logged", || log.count("did not answer within 400ms") == 1).await;
    drop(listener.accept().await.unwrap());
    notifier.pass();
    tokio::select! {
        notified = notifier.notified() => panic!("{notified}"),
        _ = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"SSH-2.0-x\r\n\r\n").await.unwrap();
            until("it is logged", || log.count("gave no HTTP answer") == 1).await;
        } => {}
    }
}
