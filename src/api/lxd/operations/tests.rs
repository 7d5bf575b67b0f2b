use std::cell::{Cell, RefCell};

use serde_json::json;
use tokio::sync::Notify;
use uuid::Uuid;

use super::token::OPEN_FOR;
use super::*;
use crate::api::lxd::wording::told;
use crate::image::Timestamp;
use crate::jobs::{self, Subject, WAITERS_MAX};

/// Limits of one caller.
const TASKS_MAX: usize = 256;
const TOKENS_MAX: usize = 64;
const ENDED_MAX: usize = 1024;
const KEPT: Duration = Duration::from_secs(60);

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(1_000_000) };
}

fn clock() -> Timestamp {
    Timestamp(NOW.get())
}

fn later(by: Duration) {
    NOW.set(NOW.get() + i64::try_from(by.as_micros()).unwrap());
}

fn operations() -> Operations {
    Operations::new(Jobs::new(clock))
}

fn about(description: &'static str) -> About {
    About::new(jobs::JobKind::Pull, description)
}

fn secret_of() -> About {
    About::new(jobs::JobKind::Secret, "x")
}

fn user(name: &str) -> Caller {
    Caller::User(name.into())
}

fn owner(name: &str) -> Owner {
    Owner { caller: user(name), account: Some(Uuid::from_u128(7)) }
}

const HOUR: Duration = Duration::from_secs(3600);

/// A task whose end the test decides.
fn held(operations: &Operations, owner: &Caller, about: About) -> (Operation, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let gone = Arc::clone(&go);
    let begun = operations.run(owner, about, move |_| async move {
        gone.notified().await;
        Ok(json!({ "fingerprint": "ab" }))
    });
    (begun.unwrap(), go)
}

async fn ended(operations: &Operations, id: JobId) -> Operation {
    operations.wait(id, Some(Duration::from_secs(120))).await.unwrap()
}

#[actix_web::test]
async fn a_task_says_how_far_it_is_and_how_it_ended() {
    let operations = operations();
    let (go, step) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (wait, made) = (Arc::clone(&go), Arc::clone(&step));
    let about = about("Downloading image").metadata("secret", "s");
    let begun = operations.run(&user("me"), about, move |progress| async move {
        progress.say("download_progress", "42% (1MB/s)");
        progress.image(None, "abcd");
        made.notify_one();
        wait.notified().await;
        Ok(json!({ "fingerprint": "abcd", "size": "7" }))
    });
    let begun = begun.unwrap();
    assert_eq!((begun.status, begun.status.code(), begun.class), (Status::Running, 103, Class::Task));
    step.notified().await;
    let half = operations.find(&user("me"), &begun.id.to_string()).unwrap();
    assert_eq!(half.json()["metadata"], json!({ "secret": "s", "download_progress": "42% (1MB/s)" }));
    assert_eq!(half.json()["resources"], json!({ "images": ["/1.0/images/abcd"] }));
    go.notify_one();
    let done = ended(&operations, begun.id).await;
    assert_eq!((done.status, done.err.as_str(), done.may_cancel), (Status::Success, "", false));
    let expected = json!({ "secret": "s", "download_progress": "42% (1MB/s)", "fingerprint": "abcd", "size": "7" });
    assert_eq!(done.json()["metadata"], expected);
    assert!(done.updated_at >= done.created_at);
}

#[actix_web::test]
async fn everything_that_matters_is_told_and_the_end_always() {
    let operations = operations();
    let mut heard = operations.0.events().subscribe(|_| true);
    let begun = operations.run(&user("me"), about("x"), |progress| async move {
        for percent in 0..1000 {
            progress.say("download_progress", format!("{percent}%"));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        progress.say("download_progress", "1000%");
        Err(Reason::Upstream.saying("gone"))
    });
    let ended = ended(&operations, begun.unwrap().id).await;
    let told = std::iter::from_fn(|| heard.try_next().ok()).map(|event| match event.subject {
        Subject::Job(job) => Operation::of(&job).unwrap().json(),
        Subject::Notice(_) => unreachable!(),
    });
    let told: Vec<Value> = told.collect();
    let statuses: Vec<&str> = told.iter().map(|operation| operation["status"].as_str().unwrap()).collect();
    assert!(statuses.len() < 20, "and not every little step: {statuses:?}");
    assert_eq!((statuses[0], statuses[1]), ("Pending", "Running"));
    let [.., before, last] = &told[..] else { unreachable!() };
    assert_eq!(before["metadata"]["download_progress"], "1000%");
    assert_eq!(*last, ended.json());
}

#[actix_web::test]
async fn a_failure_keeps_what_was_said_before() {
    let operations = operations();
    let begun = operations.run(&user("me"), about("x"), |progress| async move {
        progress.say("fingerprint", "abcd");
        Err(Error::from(Reason::FingerprintTaken).because("not to be told"))
    });
    let failed = ended(&operations, begun.unwrap().id).await;
    let shown = failed.json();
    assert_eq!((&shown["status"], &shown["status_code"]), (&json!("Failure"), &json!(400)));
    assert_eq!(shown["err"], "Image with same fingerprint already exists");
    assert_eq!(shown["metadata"], json!({ "fingerprint": "abcd" }));
}

#[actix_web::test]
async fn a_task_that_panics_or_is_dropped_has_failed() {
    let operations = operations();
    let begun = operations.run(&user("me"), about("x"), |_| async move {
        if std::hint::black_box(true) {
            panic!("on purpose");
        }
        Ok(Value::Null)
    });
    let failed = ended(&operations, begun.unwrap().id).await;
    assert_eq!(failed.status, Status::Failure);
    assert!(failed.err.contains("log"), "{}", failed.err);

    // On a runtime that ends before the operation.
    let elsewhere = operations.clone();
    let id = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async { held(&elsewhere, &user("me"), about("x")).0.id })
    });
    let failed = ended(&operations, id.join().unwrap()).await;
    assert_eq!(failed.status, Status::Failure);
    operations.0.end().await;
    assert!(failed.err.contains("stopped"), "{}", failed.err);
}

/// A value that records its drop, and the operation's state then.
struct Dropped(Arc<Mutex<Option<Status>>>, Operations, JobId);

impl Drop for Dropped {
    fn drop(&mut self) {
        *self.0.lock().unwrap() = Some(self.1.any(&self.2.to_string()).unwrap().status);
    }
}

#[actix_web::test]
async fn a_task_is_stopped_if_it_may_be_and_its_work_is_gone_before_that_is_told() {
    let operations = operations();
    let (fixed, go) = held(&operations, &user("me"), about("x"));
    let refused = |operations: &Operations| told(&operations.cancel(fixed.id).unwrap_err()).1;
    assert_eq!(refused(&operations), "This operation can't be cancelled");
    go.notify_one();
    ended(&operations, fixed.id).await;
    assert_eq!(refused(&operations), "Only running operations can be cancelled");

    let (dropped, store) = (Arc::new(Mutex::new(None)), operations.clone());
    let seen = Arc::clone(&dropped);
    let begun = operations.run(&user("me"), about("x").cancellable(), move |_| async move {
        let own = store.list(&user("me")).into_iter().find(|operation| operation.status == Status::Running).unwrap().id;
        let _guard = Dropped(seen, store, own);
        std::future::pending::<()>().await;
        Ok(Value::Null)
    });
    let begun = begun.unwrap();
    assert!(begun.may_cancel);
    tokio::task::yield_now().await;
    operations.cancel(begun.id).unwrap();
    assert_eq!(operations.any(&begun.id.to_string()).unwrap().status, Status::Cancelling);
    assert_eq!(told(&operations.cancel(begun.id).unwrap_err()).0, actix_web::http::StatusCode::BAD_REQUEST);
    let stopped = ended(&operations, begun.id).await;
    assert_eq!((stopped.status, stopped.status.code()), (Status::Cancelled, 401));
    assert_eq!(*dropped.lock().unwrap(), Some(Status::Cancelling));
}

#[actix_web::test]
async fn waiting_ends_with_the_operation_or_with_patience() {
    let operations = operations();
    let (begun, go) = held(&operations, &user("me"), about("x"));
    for patience in [Duration::ZERO, Duration::from_millis(20)] {
        assert_eq!(operations.wait(begun.id, Some(patience)).await.unwrap().status, Status::Running);
    }
    let waiting = futures_util::future::join(operations.wait(begun.id, None), async { go.notify_one() });
    assert_eq!(waiting.await.0.unwrap().status, Status::Success);
    assert_eq!(operations.wait(begun.id, None).await.unwrap().status, Status::Success);

    let (begun, _go) = held(&operations, &user("me"), about("x"));
    let mut all: Vec<_> = (0..WAITERS_MAX).map(|_| Box::pin(operations.wait(begun.id, None))).collect();
    for waiting in &mut all {
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    }
    assert_eq!(operations.wait(begun.id, None).await.unwrap_err().kind(), Kind::Busy);
    all.pop();
    let short = operations.wait(begun.id, Some(Duration::ZERO)).await;
    assert_eq!(short.unwrap().status, Status::Running, "a request that has waited holds nothing");
}

#[actix_web::test]
async fn the_end_waits_for_tasks_and_not_for_tokens() {
    let operations = operations();
    let (task, go) = held(&operations, &user("me"), about("x"));
    let token = operations.token(&owner("me"), secret_of(), Purpose::Image("a".into()), HOUR).unwrap();
    let order = RefCell::new(Vec::new());
    let note = |what| order.borrow_mut().push(what);
    futures_util::future::join4(
        async {
            operations.0.end().await;
            note("end");
        },
        async {
            assert_eq!(operations.wait(task.id, None).await.unwrap().status, Status::Success);
        },
        async {
            assert_eq!(operations.wait(token.id, None).await.unwrap().status, Status::Running);
            note("token");
        },
        async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            note("task");
            go.notify_one();
        },
    )
    .await;
    assert_eq!(order.borrow()[0], "task");
    assert_eq!(order.borrow().len(), 3);
}

#[actix_web::test]
async fn operations_are_their_owners_and_administrators() {
    let operations = operations();
    let (mine, go) = held(&operations, &user("me"), about("x"));
    let root = Caller::Admin(Some("root".into()));
    let (open, _go) = held(&operations, &Caller::Admin(None), about("x"));
    let sees = |caller: &Caller, id: JobId| operations.find(caller, &id.to_string()).is_ok();
    for (caller, expected) in [
        (user("me"), (true, false)),
        (Caller::Admin(Some("me".into())), (true, true)),
        (root, (true, true)),
        (user("you"), (false, false)),
        (Caller::Anonymous, (false, false)),
    ] {
        assert_eq!((sees(&caller, mine.id), sees(&caller, open.id)), expected, "{caller:?}");
        let listed = operations.list(&caller);
        assert_eq!(listed.len(), usize::from(expected.0) + usize::from(expected.1), "{caller:?}");
    }
    for unknown in ["", "nonsense", "9e1e6a3c-0000-4000-8000-000000000000"] {
        let refused = operations.find(&user("me"), unknown).unwrap_err();
        assert_eq!(crate::api::lxd::error::told(&refused).1, "Operation not found");
    }
    go.notify_one();
    ended(&operations, mine.id).await;
    assert!(sees(&user("me"), mine.id), "what has ended can still be read");
    later(KEPT);
    assert!(!sees(&user("me"), mine.id) && sees(&Caller::Admin(None), open.id));
}

#[actix_web::test]
async fn a_secret_opens_one_image_for_a_moment() {
    let operations = operations();
    let of = |image: &str| {
        let about = About::new(jobs::JobKind::Secret, "Generating image secret").image(image);
        operations.token(&owner("me"), about, Purpose::Image(image.into()), HOUR).unwrap()
    };
    let begun = of("aa");
    let secret = begun.secret().unwrap().to_owned();
    assert_eq!((begun.class, begun.status, begun.may_cancel, secret.len()), (Class::Token, Status::Running, true, 64));
    assert!(!format!("{begun:?}").contains(&secret));
    for other in ["bb", "aaa", "ab"] {
        assert_eq!(operations.opens(&secret, other), None);
    }
    assert_eq!(operations.opens("nonsense", "aa"), None);
    assert_eq!(operations.take(&secret, |purpose| matches!(purpose, Purpose::Upload(_))), None);
    assert_eq!(operations.opens(&secret, "aab"), None);
    for _ in 0..3 {
        assert_eq!(operations.opens(&secret, "aa"), Some((owner("me"), "aa".to_owned())));
    }
    tokio::task::yield_now().await;
    let shown = || operations.any(&begun.id.to_string()).unwrap().status;
    assert_eq!((shown(), OPEN_FOR), (Status::Running, Duration::from_secs(5)));
    // Expires early.
    assert!(operations.use_up(&secret, |_| true, Duration::from_millis(30)).is_some());
    assert_eq!(ended(&operations, begun.id).await.status, Status::Success);
    assert_eq!(operations.opens(&secret, "aa"), None);

    let cancelled = of("aa");
    assert_eq!(operations.opens(cancelled.secret().unwrap(), "a").unwrap().1, "aa", "the beginning will do");
    operations.cancel(cancelled.id).unwrap();
    assert_eq!(operations.opens(cancelled.secret().unwrap(), "aa"), None, "at once");
    assert_eq!(ended(&operations, cancelled.id).await.status, Status::Cancelled);

    let short = Duration::from_millis(30);
    let unused = operations.token(&owner("me"), secret_of(), Purpose::Image("aa".into()), short).unwrap();
    assert_eq!(ended(&operations, unused.id).await.status, Status::Cancelled);
}

#[actix_web::test]
async fn a_token_is_taken_once() {
    let operations = operations();
    let asked = Purpose::Upload(json!({ "aliases": ["a"] }));
    let begun = operations.token(&owner("me"), secret_of(), asked.clone(), HOUR).unwrap();
    let secret = begun.secret().unwrap();
    let upload = |purpose: &Purpose| matches!(purpose, Purpose::Upload(_));
    let ticket = operations.take(secret, upload);
    assert_eq!(ticket, Some(Ticket { owner: owner("me"), purpose: asked }));
    assert_eq!(operations.take(secret, upload), None);
    assert_eq!(ended(&operations, begun.id).await.status, Status::Success);

    let short = operations.token(&owner("me"), secret_of(), Purpose::Upload(Value::Null), Duration::from_millis(30));
    assert_eq!(
        operations.wait(short.unwrap().id, None).await.unwrap().status,
        Status::Cancelled,
        "its time ends a wait for it"
    );
}

#[actix_web::test]
async fn there_are_so_many_operations_and_no_more() {
    let operations = operations();
    let token = |owner: &Owner| operations.token(owner, secret_of(), Purpose::Upload(Value::Null), HOUR);
    let all: Vec<Operation> = (0..TOKENS_MAX).map(|_| token(&owner("me")).unwrap()).collect();
    assert_eq!(token(&owner("me")).unwrap_err().kind(), Kind::Busy);
    let others = token(&owner("you")).unwrap();
    let held: Vec<_> = (0..TASKS_MAX).map(|_| held(&operations, &user("me"), about("x")).1).collect();
    let busy = operations.run(&user("me"), about("x"), |_| async { Ok(Value::Null) }).unwrap_err();
    assert_eq!(busy.kind(), Kind::Busy, "secrets and tasks are counted apart");
    held.iter().for_each(|go| go.notify_one());
    operations.cancel(all[0].id).unwrap();
    token(&owner("me")).unwrap();

    // Ended operations make room early: the oldest first, the caller's own before others'.
    for round in 0..ENDED_MAX + 10 {
        let made = token(&owner("you")).unwrap();
        operations.cancel(made.id).unwrap();
        assert!(operations.list(&user("you")).len() <= ENDED_MAX + 1, "{round}");
    }
    assert!(operations.any(&others.id.to_string()).is_some(), "what goes on is never forgotten");
    assert!(operations.any(&all[0].id.to_string()).is_some());
}
