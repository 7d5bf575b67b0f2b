//! The peer of small requests: actix-web and a handler that returns bytes. It is this program, called with
//! `--bare ANSWER READY`.

use std::path::Path;

use actix_web::{App, HttpResponse, HttpServer, web};

/// Serves if this process was started for that; then there is nothing to measure in it.
pub fn serve_if_asked() -> bool {
    let Some(at) = std::env::args().position(|argument| argument == "--bare") else { return false };
    let arguments: Vec<String> = std::env::args().skip(at + 1).collect();
    serve(Path::new(&arguments[0]), Path::new(&arguments[1]));
    true
}

/// Serves a file with an answer's head and body as the answer to everything; says where in `ready`.
fn serve(answer: &Path, ready: &Path) {
    let text = std::fs::read(answer).unwrap();
    let end = text.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(text[..end].to_vec()).unwrap();
    let body = web::Bytes::copy_from_slice(&text[end + 4..]);
    let headers: Vec<(String, String)> = head
        .lines()
        .skip(1)
        .map(|line| line.split_once(": ").unwrap())
        .filter(|(name, _)| !["content-length", "transfer-encoding", "date", "connection"].contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let ready = ready.to_owned();
    actix_web::rt::System::new()
        .block_on(async move {
            let server = HttpServer::new(move || {
                let (headers, body) = (headers.clone(), body.clone());
                App::new().default_service(web::to(move || {
                    let mut response = HttpResponse::Ok();
                    headers
                        .iter()
                        .for_each(|(name, value)| _ = response.append_header((name.as_str(), value.as_str())));
                    let body = body.clone();
                    async move { response.body(body) }
                }))
            })
            .bind("127.0.0.1:0")
            .unwrap();
            std::fs::write(ready, format!("http://{}\n", server.addrs()[0])).unwrap();
            server.run().await
        })
        .unwrap();
}
