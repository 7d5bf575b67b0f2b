use std::cell::Cell;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::Notify;

use super::*;
use crate::error::{Kind as ErrorKind, Reason};

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(1_000_000) };
}

fn clock() -> Timestamp {
    Timestamp(NOW.get())
}

fn later(by: Duration) {
    NOW.set(NOW.get() + i64::try_from(by.as_micros()).unwrap());
}

fn jobs() -> Jobs {
    Jobs::new(clock)
}

fn spec(kind: JobKind, owner: &str) -> Spec {
    Spec::new(kind, Some(owner))
}

/// A job that ends when it is told to.
fn held(jobs: &Jobs, spec: Spec) -> (JobId, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let gone = Arc::clone(&go);
    let job = jobs.spawn(spec, |_| async move {
        gone.notified().await;
        Ok(())
    });
    (job.unwrap().id, go)
}

async fn ended(jobs: &Jobs, id: JobId) -> Job {
    let job = jobs.wait(id, Some(Duration::from_secs(120))).await.unwrap();
    assert!(job.status.is_final(), "{job:?}");
    job
}

fn is(owner: &str) -> impl Fn(&Job) -> bool {
    move |job| job.owner.as_deref() == Some(owner)
}

#[test]
fn every_kind_has_a_word_of_its_own() {
    let words: std::collections::HashSet<_> = JobKind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!((words.len(), JobKind::ALL.len()), (JobKind::ALL.len(), JobKind::Compaction as usize + 1));
}

#[tokio::test]
async fn a_job_reports_and_ends() {
    let (jobs, image) = (jobs(), ImageId::random());
    let (half, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (seen, wait) = (Arc::clone(&half), Arc::clone(&go));
    let begun = jobs.spawn(spec(JobKind::Register, "me"), |handle| async move {
        handle.bytes(3, Some(4));
        handle.steps(1, None);
        handle.image(image);
        seen.notify_one();
        wait.notified().await;
        Ok(())
    });
    let begun = begun.unwrap();
    assert_eq!((begun.status, begun.owner.as_deref(), begun.kind), (JobStatus::Running, Some("me"), JobKind::Register));
    half.notified().await;
    later(Duration::from_secs(7));
    let job = jobs.find(begun.id).unwrap();
    let progress = (job.progress.bytes, job.progress.bytes_total, job.progress.steps, job.progress.steps_total);
    assert_eq!((progress, job.image), ((Some(3), Some(4), Some(1), None), Some(image)));
    go.notify_one();
    let job = ended(&jobs, begun.id).await;
    assert_eq!((job.status, job.ended_at, job.may_stop), (JobStatus::Done, Some(clock()), false));
    assert_eq!(job.ended_at.unwrap().0 - job.made_at.0, 7_000_000);
}

#[tokio::test]
async fn a_failure_is_told_without_its_cause() {
    let jobs = jobs();
    let work = |_| async { Err(Reason::Upstream.saying("gone").because("not to be told")) };
    let job = ended(&jobs, jobs.spawn(spec(JobKind::Pull, "me"), work).unwrap().id).await;
    assert_eq!((job.status, job.error.as_deref()), (JobStatus::Failed, Some("gone")));
}

#[tokio::test]
async fn work_that_panics_or_is_dropped_has_failed_and_holds_nothing() {
    let jobs = jobs();
    let panics = jobs.spawn(spec(JobKind::Move, "me"), |_| async {
        if std::hint::black_box(true) {
            panic!("on purpose");
        }
        Ok(())
    });
    let failed = ended(&jobs, panics.unwrap().id).await;
    assert!(failed.status == JobStatus::Failed && failed.error.unwrap().contains("log"));

    let begun = jobs.begin(spec(JobKind::Move, "me")).unwrap();
    let id = begun.id();
    assert_eq!(jobs.find(id).unwrap().status, JobStatus::Waiting);
    drop(begun);
    assert_eq!(ended(&jobs, id).await.status, JobStatus::Failed, "its work was never made");

    let elsewhere = jobs.clone();
    let id = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { held(&elsewhere, spec(JobKind::Move, "me")).0 })
    });
    let failed = ended(&jobs, id.join().unwrap()).await;
    assert!(failed.status == JobStatus::Failed && failed.error.unwrap().contains("interrupted"));
    jobs.end().await;
}

#[tokio::test]
async fn jobs_are_bounded_and_forgotten() {
    let jobs = jobs();
    let limits = JobClass::Import.limits();
    let mine = |owner: &str| jobs.list(is(owner)).len();
    let running: Vec<_> = (0..limits.open_of_one).map(|_| held(&jobs, spec(JobKind::ImportUrl, "busy"))).collect();
    let refused = jobs.begin(spec(JobKind::ImportUrl, "busy")).map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy);
    let (other_class, _go) = held(&jobs, spec(JobKind::Pull, "busy"));
    assert!(jobs.find(other_class).is_some(), "each class is counted apart");
    for _ in 0..2 * limits.kept_of_one {
        drop(jobs.begin(spec(JobKind::ImportUrl, "eager")).unwrap());
    }
    assert_eq!((mine("busy"), mine("eager")), (limits.open_of_one + 1, limits.kept_of_one));
    for n in 0..2 * limits.kept {
        drop(jobs.begin(spec(JobKind::ImportUrl, &format!("of {n}"))).unwrap());
    }
    let all = jobs.list(|job| job.kind.class() == JobClass::Import).len();
    assert_eq!((all, mine("eager")), (limits.kept + limits.open_of_one, 0), "the oldest make room");
    assert_eq!(mine("busy"), limits.open_of_one + 1, "what runs does not");
    later(limits.kept_for);
    assert_eq!(jobs.list(|_| true).len(), limits.open_of_one + 1);
    running[0].1.notify_one();
    ended(&jobs, running[0].0).await;
    held(&jobs, spec(JobKind::ImportUrl, "busy"));
}

#[tokio::test]
async fn lists_are_newest_first() {
    let jobs = jobs();
    let ids: Vec<_> = (0..10).map(|_| held(&jobs, spec(JobKind::Copy, "me")).0).collect();
    let listed: Vec<_> = jobs.list(|_| true).into_iter().rev().map(|job| job.id).collect();
    assert_eq!(listed, ids);
}

#[tokio::test]
async fn jobs_are_found_by_their_image() {
    let (jobs, image, other) = (jobs(), ImageId::random(), ImageId::random());
    let of = |image| jobs.list_of(image, |_| true).into_iter().map(|job| job.id).collect::<Vec<_>>();
    let named = |kind| spec(kind, "me").image(image);
    let (first, _) = held(&jobs, named(JobKind::Copy));
    let (second, _) = held(&jobs, named(JobKind::Move));
    held(&jobs, spec(JobKind::Copy, "me").image(other));
    assert_eq!(of(image), [second, first]);
    assert_eq!(jobs.newest_of(image, |job| job.kind == JobKind::Copy).unwrap().id, first);
    assert!(jobs.newest_of(image, is("you")).is_none());

    // An image that becomes known later, also in place of another one.
    let late = jobs.spawn(spec(JobKind::Pull, "me").image(other), |handle| async move {
        handle.image(image);
        Ok(())
    });
    let late = ended(&jobs, late.unwrap().id).await.id;
    assert_eq!((of(image), of(other).len()), (vec![late, second, first], 1));
    let noted = jobs.spawn(spec(JobKind::Pull, "me"), |handle| async move {
        handle.image_now(Some(other), Arc::new(()));
        Ok(())
    });
    let noted = ended(&jobs, noted.unwrap().id).await.id;
    assert_eq!(of(other)[0], noted);

    // Forgotten here too, by age and by the number that is kept.
    later(JobKind::Pull.class().limits().kept_for);
    assert_eq!((of(image), of(other).len()), (vec![second, first], 1));
    for _ in 0..2 * JobClass::Import.limits().kept_of_one {
        drop(jobs.begin(named(JobKind::ImportUrl)).unwrap());
    }
    assert_eq!(of(image).len(), JobClass::Import.limits().kept_of_one + 2);
}

#[tokio::test]
async fn a_stop_does_what_the_job_says() {
    let jobs = jobs();
    let stop = |id| jobs.stop(id).map_err(|error| error.kind());
    let (fixed, go) = held(&jobs, spec(JobKind::Publish, "me"));
    assert_eq!(stop(fixed), Err(ErrorKind::Conflict), "it can't be stopped");
    go.notify_one();
    ended(&jobs, fixed).await;
    assert_eq!(stop(fixed), Err(ErrorKind::Conflict), "it has ended");
    assert_eq!(stop(JobId(Uuid::new_v4())), Err(ErrorKind::NotFound));

    let (dropped, _go) = held(&jobs, spec(JobKind::Pull, "me").stop(Stop::Drops));
    assert_eq!(stop(dropped), Ok(()));
    assert_eq!(jobs.find(dropped).unwrap().status, JobStatus::Stopping, "its work is still there");
    assert_eq!(stop(dropped), Err(ErrorKind::Conflict));
    assert_eq!(ended(&jobs, dropped).await.status, JobStatus::Stopped);

    let (gone, _go) = held(&jobs, spec(JobKind::Secret, "me").stop(Stop::AtOnce));
    assert_eq!((stop(gone), jobs.find(gone).unwrap().status), (Ok(()), JobStatus::Stopped));

    let undone = Arc::new(Notify::new());
    let seen = Arc::clone(&undone);
    let asked = jobs.spawn(spec(JobKind::Move, "me").stop(Stop::Asks), |handle| async move {
        handle.stopped().await;
        seen.notified().await;
        Err(Handle::stop_error())
    });
    let asked = asked.unwrap().id;
    stop(asked).unwrap();
    assert_eq!(jobs.wait(asked, Some(Duration::from_millis(20))).await.unwrap().status, JobStatus::Stopping);
    undone.notify_one();
    assert_eq!(ended(&jobs, asked).await.status, JobStatus::Stopped);

    let late = Arc::new(Notify::new());
    let wait = Arc::clone(&late);
    let done = jobs.spawn(spec(JobKind::Move, "me").stop(Stop::Asks), |_| async move {
        wait.notified().await;
        Ok(())
    });
    let done = done.unwrap().id;
    stop(done).unwrap();
    late.notify_one();
    assert_eq!(ended(&jobs, done).await.status, JobStatus::Done, "it was too late");
}

#[tokio::test]
async fn a_watched_stream_counts_and_can_be_stopped() {
    let jobs = jobs();
    let pieces = stream::iter([Ok(Bytes::from_static(b"abc")), Ok(Bytes::from_static(b"de"))]);
    let job = jobs.spawn(spec(JobKind::Move, "me").stop(Stop::Asks), |handle| async move {
        let mut pieces = handle.watch(pieces.chain(stream::pending()), 10, Some(20));
        while let Some(piece) = pieces.next().await {
            piece?;
        }
        Ok(())
    });
    let id = job.unwrap().id;
    while jobs.find(id).unwrap().progress.bytes != Some(15) {
        tokio::task::yield_now().await;
    }
    jobs.stop(id).unwrap();
    let job = ended(&jobs, id).await;
    assert_eq!((job.status, job.progress.bytes, job.progress.bytes_total), (JobStatus::Stopped, Some(15), Some(20)));
    let mut unwatched = Handle::default().watch(stream::iter([Ok(Bytes::from_static(b"abc"))]), 0, None);
    assert_eq!(unwatched.next().await.unwrap().unwrap(), "abc");
    assert!(unwatched.next().await.is_none());
}

#[tokio::test]
async fn waits_are_bounded_and_may_be_dropped() {
    let jobs = jobs();
    let (id, go) = held(&jobs, spec(JobKind::Move, "me"));
    let mut all: Vec<_> = (0..WAITERS_MAX).map(|_| Box::pin(jobs.wait(id, None))).collect();
    for wait in &mut all {
        assert!(futures_util::poll!(wait.as_mut()).is_pending());
    }
    assert_eq!(jobs.wait(id, None).await.unwrap_err().kind(), ErrorKind::Busy);
    all.truncate(1);
    assert_eq!(jobs.wait(id, Some(Duration::ZERO)).await.unwrap().status, JobStatus::Running);
    go.notify_one();
    assert_eq!(all.remove(0).await.unwrap().status, JobStatus::Done);
    assert_eq!(jobs.wait(JobId(Uuid::new_v4()), None).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn the_end_waits_for_clients_jobs_and_for_no_other() {
    let jobs = jobs();
    let (secret, _go) = held(&jobs, spec(JobKind::Secret, "me"));
    let (import, _gone) = held(&jobs, spec(JobKind::ImportUrl, "me"));
    let background = jobs.background(JobKind::Sweep, None).unwrap();
    let (id, go) = held(&jobs, spec(JobKind::Move, "me"));
    let dropped = jobs.begin(spec(JobKind::Secret, "me")).unwrap();
    let mut end = Box::pin(jobs.end());
    assert!(futures_util::poll!(end.as_mut()).is_pending());
    go.notify_one();
    end.await;
    assert_eq!(jobs.wait(id, None).await.unwrap().status, JobStatus::Done);
    let with_its_runtime = dropped.id();
    drop(dropped);
    for still in [secret, import, background.id(), with_its_runtime] {
        assert!(!jobs.wait(still, None).await.unwrap().status.is_final(), "its wait is over");
    }
}

#[tokio::test]
async fn events_tell_what_matters_in_its_order_and_a_slow_listener_that_it_missed_some() {
    let jobs = jobs();
    let (mut heard, mut slow) = (jobs.events().subscribe(|_| true), jobs.events().subscribe(|_| true));
    let stream = jobs.events().clone();
    let job = jobs.spawn(spec(JobKind::Pull, "me"), |handle| async move {
        (0..1000).for_each(|done| handle.bytes(done, None));
        stream.notice(Some("me"), || "made");
        Ok(())
    });
    ended(&jobs, job.unwrap().id).await;
    let told: Vec<_> = std::iter::from_fn(|| heard.try_next().ok()).collect();
    assert!(told.len() < 20, "not every little step: {told:?}");
    assert!(told.iter().all(|event| event.owner.as_deref() == Some("me") && event.at == clock()));
    let words = told.iter().map(|event| match &event.subject {
        Subject::Job(job) => job.status.name(),
        Subject::Notice(notice) => notice.downcast_ref::<&str>().unwrap(),
    });
    assert_eq!(words.collect::<Vec<_>>(), ["waiting", "running", "made", "done"]);
    for _ in 0..200 {
        let (id, go) = held(&jobs, spec(JobKind::Pull, "me"));
        go.notify_one();
        ended(&jobs, id).await;
    }
    while slow.try_next().is_ok() {}
    assert_eq!(slow.try_next().unwrap_err(), NoEvent::Missed);
}

#[tokio::test]
async fn notes_are_typed_and_never_printed() {
    let jobs = jobs();
    let (id, _go) = held(&jobs, spec(JobKind::Pull, "me").notes(Arc::new("secret".to_owned())));
    let job = jobs.find(id).unwrap();
    assert_eq!((job.notes::<String>().map(String::as_str), job.notes::<u8>()), (Some("secret"), None));
    assert!(!format!("{job:?}").contains("secret"));
}

#[tokio::test]
async fn a_background_job_shows_its_runs_and_goes_on_after_a_stop() {
    let jobs = jobs();
    let next = Some(Timestamp(99));
    let job = jobs.background(JobKind::Sweep, next).unwrap();
    let show = || jobs.find(job.id()).unwrap();
    assert_eq!((show().status, show().schedule.unwrap().next), (JobStatus::Waiting, next));
    let began = clock();
    let run = async |handle: Handle| {
        assert_eq!(show().status, JobStatus::Running);
        handle.steps(3, None);
        later(Duration::from_secs(1));
        Ok(())
    };
    job.run(|| next, run).await;
    let schedule = Schedule { last_began: Some(began), last_ended: Some(clock()), last_error: None, next };
    assert_eq!((show().status, show().schedule, show().progress.steps), (JobStatus::Waiting, Some(schedule), Some(3)));

    job.run(|| next, async |_| Err(Error::invalid("no"))).await;
    assert_eq!((show().status, show().schedule.unwrap().last_error.as_deref()), (JobStatus::Waiting, Some("no")));

    assert_eq!(jobs.stop(job.id()).unwrap_err().kind(), ErrorKind::Conflict, "nothing runs");
    let stopped = futures_util::future::join(job.run(|| next, async |_| std::future::pending().await), async {
        jobs.stop(job.id()).unwrap();
    });
    stopped.await;
    assert_eq!(
        (show().status, show().schedule.unwrap().last_error.as_deref()),
        (JobStatus::Waiting, Some("It was stopped."))
    );
    job.run(|| None, async |_| Ok(())).await;
    assert_eq!(show().schedule.unwrap().last_error, None, "the next run is another one");

    drop(Box::pin(job.run(|| next, async |_| std::future::pending().await)));
    assert_eq!(show().status, JobStatus::Waiting);
    let mut run = Box::pin(job.run(|| next, async |_| std::future::pending().await));
    assert!(futures_util::poll!(run.as_mut()).is_pending());
    drop(run);
    assert!(show().schedule.unwrap().last_error.is_some(), "a run that is dropped has ended");
    let id = job.id();
    job.end();
    assert_eq!(jobs.find(id).unwrap().status, JobStatus::Failed);
    later(JobClass::Background.limits().kept_for);
    assert!(jobs.find(id).is_none());
}
