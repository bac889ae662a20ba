//! Cookies, on their way in and out.

use crate::bench::Bench;

pub async fn cleared(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    bench.curfew.age(&session, "15m").await;
    let answer = bench.get(&session, "/").await;
    bench.refused(&answer, "idle_timeout");
    let cleared = "__Host-session=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0";
    assert_eq!(answer.all("set-cookie"), [cleared]);
    // Who has not been here before has nothing to lose.
    let answer = bench.send("GET", "/", &[]).await;
    bench.refused(&answer, "no_credential");
    assert_eq!(answer.one("set-cookie"), None);
}

pub async fn own(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    for (path, status) in [("/cookies", 200), ("/cookies/500", 500)] {
        let answer = bench.get(&session, path).await;
        assert_eq!(answer.status, status);
        let cookies = ["app=1; Path=/", "cart=2; Path=/; HttpOnly"];
        assert_eq!(answer.all("set-cookie"), cookies);
        bench.backend.take_one();
    }
}

pub async fn two(bench: &mut Bench) {
    let (alice, bob) = (
        bench.curfew.sign_in("alice").await.cookie(),
        bench.curfew.sign_in("bob").await.cookie(),
    );
    for lines in [
        vec![("cookie", &*alice), ("cookie", &*bob)],
        vec![("cookie", &*bob), ("cookie", &*alice)],
        vec![("cookie", &*format!("{alice}; {bob}"))],
        vec![("cookie", &*format!("{alice},{bob}"))],
        vec![
            ("cookie", &*format!("a=1; {alice}")),
            ("cookie", &*format!("b=2; {bob}")),
        ],
    ] {
        let answer = bench.send("GET", "/", &lines).await;
        assert_eq!(answer.status, 401, "{lines:?}");
        bench.unreached();
        let answer = bench.get_http2("/", &lines).await;
        assert_eq!(answer.status, 401, "{lines:?}");
        bench.unreached();
    }
    // The same one twice, or beside others, is hers, if it is understood at all.
    for lines in [
        vec![("cookie", &*alice), ("cookie", &*alice)],
        vec![("cookie", "a=1"), ("cookie", &*alice)],
    ] {
        let answer = bench.send("GET", "/", &lines).await;
        match answer.status {
            401 => bench.unreached(),
            _ => drop(bench.admitted(&answer, "alice")),
        }
    }
}

pub async fn crumbs(bench: &mut Bench) {
    let alice = bench.curfew.sign_in("alice").await.cookie();
    let lines = [("cookie", "a=1"), ("cookie", &*alice), ("cookie", "b=2")];
    let answer = bench.get_http2("/", &lines).await;
    let seen = bench.admitted(&answer, "alice");
    // And to the application as well.
    let whole = format!("a=1; {alice}; b=2");
    assert_eq!(seen.all("cookie").join("; "), whole);
}
