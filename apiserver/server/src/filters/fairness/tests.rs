use super::flows::tests::bootstrap;
use super::*;

fn vcp(n: u8) -> VcpId {
    VcpId::parse(&format!("00000000-0000-4000-8000-0000000000{n:02}")).expect("a uid")
}

fn place(vcp: VcpId, level: &str, flow: &str, seats: usize) -> Place {
    Place {
        vcp,
        level: level.into(),
        exempt: level == "exempt",
        queues: (level != "catch-all").then_some(Queues { count: 8, hand: 2, length: 5 }),
        flow: flow.into(),
        config: Arc::new(bootstrap()),
        seats,
    }
}

fn fairness(total: usize) -> Arc<Fairness> {
    Fairness::new(Limits { reads: total, writes: 0 })
}

#[tokio::test(start_paused = true)]
async fn a_seat_goes_to_the_control_plane_with_the_fewest() {
    let fairness = fairness(4);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(fairness.seat(place(vcp(1), "exempt", "f", 4)).await.expect("a seat"));
    }
    let greedy = tokio::spawn({
        let fairness = fairness.clone();
        async move { fairness.seat(place(vcp(1), "exempt", "f", 4)).await }
    });
    tokio::task::yield_now().await;
    let modest = tokio::spawn({
        let fairness = fairness.clone();
        async move { fairness.seat(place(vcp(2), "exempt", "f", 4)).await }
    });
    tokio::task::yield_now().await;
    held.pop();
    let seat = modest.await.expect("no panic").expect("a seat for the modest one");
    assert!(!greedy.is_finished());
    drop((seat, held));
    greedy.await.expect("no panic").expect("a seat in the end");
    assert_eq!(fairness.seats().figures(), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_level_without_queues_refuses_and_says_which() {
    let fairness = fairness(600);
    let mut held = Vec::new();
    let refused = loop {
        match fairness.seat(place(vcp(1), "catch-all", "f", 49)).await {
            Ok(seat) => held.push(seat),
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code, 429);
    assert!(refused.message.contains("\"catch-all\""), "{}", refused.message);
    assert_eq!(refused.details.map(|d| d.retry_after_seconds), Some(1));
    // Another level of the same control plane is served.
    assert!(fairness.seat(place(vcp(1), "workload-low", "f", 49)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_noisy_flow_does_not_stand_before_another() {
    let fairness = fairness(600);
    let mut held = Vec::new();
    // The level is full.
    while let Ok(seat) = tokio::time::timeout(
        Duration::from_millis(1),
        fairness.seat(place(vcp(1), "leader-election", "a", 25)),
    )
    .await
    {
        held.push(seat.expect("a seat"));
    }
    let ask = |flow: &'static str| {
        let fairness = fairness.clone();
        tokio::spawn(async move { fairness.seat(place(vcp(1), "leader-election", flow, 25)).await })
    };
    let noisy: Vec<_> = (0..10).map(|_| ask("a")).collect();
    tokio::task::yield_now().await;
    let quiet = ask("a quiet one");
    tokio::task::yield_now().await;
    // Three seats: the noisy flow fills two queues at most.
    held.truncate(held.len().saturating_sub(3));
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    assert!(quiet.is_finished());
    noisy.iter().for_each(tokio::task::JoinHandle::abort);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_or_leaves_takes_nothing_along() {
    let fairness = fairness(2);
    let held = fairness.seat(place(vcp(1), "exempt", "f", 1)).await.expect("a seat");
    let refused = fairness.seat(place(vcp(1), "exempt", "f", 1)).await.expect_err("no seat in time");
    assert!(refused.message.contains("15 seconds"), "{}", refused.message);
    let leaving = tokio::spawn({
        let fairness = fairness.clone();
        async move { fairness.seat(place(vcp(1), "exempt", "f", 1)).await }
    });
    tokio::task::yield_now().await;
    leaving.abort();
    assert!(leaving.await.is_err());
    drop(held);
    assert_eq!(fairness.seats().figures(), (0, 0, 0));
}
