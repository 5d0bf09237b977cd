//! Which members etcd should have, and the next step towards it (no client required).
//!
//! One step at a time, and none while another member is not well. A member that comes has no vote until it has caught
//! up; one that goes is out of the cluster before its pod is, and its volume goes last: with it the member could not
//! come back.

use kplane_crds::conditions::reason;

use crate::etcd::{Cluster, Member};
use crate::management::management_plane::build::{MOST, Start, member};

/// What the management cluster knows of the members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// How many the StatefulSet is to have.
    pub replicas: i32,
    /// Which there are.
    pub there: Vec<i32>,
    /// Which have said that they have no data.
    pub without_data: Vec<i32>,
    /// Which have a claim.
    pub claims: Vec<i32>,
    /// Whose volume is gone from under its claim.
    pub lost_claims: Vec<i32>,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Rest,
    /// Nothing but to look again soon.
    Wait,
    /// Make this one a member, without a vote.
    Add(i32),
    /// Give this member its vote.
    Promote(u64),
    /// Take this member out, after another became the leader if this one is.
    Remove {
        /// Its id.
        id: u64,
        /// Who is to lead, if this one does.
        successor: Option<u64>,
    },
    /// Delete the claim of who is no member any more.
    DeleteClaim(i32),
    /// Delete the pod, which begins anew.
    DeletePod(i32),
    /// Delete the claim and the pod, for a new volume.
    Replace(i32),
}

/// The next step, and how things are to be meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The step.
    pub step: Step,
    /// How many pods there are to be.
    pub replicas: i32,
    /// Whom a member without data takes part with.
    pub start: Start,
    /// What is to be said, by reason and in words.
    pub note: Option<(&'static str, String)>,
}

/// Plans the way to `wanted` members. `index` tells which of ours a member is.
pub fn plan(wanted: i32, cluster: &Cluster, pods: &Pods, index: impl Fn(&Member) -> Option<i32>) -> Plan {
    let say = |step, note| Plan { step, replicas: pods.replicas, start: Start::Nobody, note };
    let mut ours = Vec::new();
    for each in &cluster.members {
        match index(each) {
            Some(at) => ours.push((at, each)),
            None => {
                let message = format!(
                    "etcd has a member {:?} at {} that is none of this plane's; remove it with `etcdctl member remove {:x}`",
                    each.name, each.peer, each.id
                );
                return say(Step::Rest, Some((reason::MEMBER_UNHEALTHY, message)));
            }
        }
    }
    ours.sort_by_key(|(at, _)| *at);
    let indexes: Vec<i32> = ours.iter().map(|(at, _)| *at).collect();
    if let Some((at, learner)) = ours.iter().find(|(_, each)| each.learner) {
        return joining(wanted, *at, learner, &indexes, pods);
    }
    let unwell: Vec<i32> = ours.iter().filter(|(_, each)| !each.is_well()).map(|(at, _)| *at).collect();
    let others_unwell = |than: i32| unwell.iter().copied().filter(|at| *at != than).collect::<Vec<_>>();
    let held = |what: String, by: &[i32]| {
        let names: Vec<String> = by.iter().map(|at| member(*at)).collect();
        let message = format!("{what} waits until {} is well again", names.join(" and "));
        say(Step::Rest, Some((reason::MEMBER_UNHEALTHY, message)))
    };
    let scaling = |message: String| Some((reason::SCALING, message));

    // More than wanted: out with the last, then with its pod, then with its volume.
    if let Some((at, last)) = ours.last().filter(|(at, _)| *at >= wanted && *at > 0) {
        let what = format!("the removal of {}", member(*at));
        let others = others_unwell(*at);
        if !others.is_empty() {
            return held(what, &others);
        }
        let successor = (last.id == cluster.leader).then(|| ours[0].1.id);
        return say(Step::Remove { id: last.id, successor }, scaling(what));
    }
    let most = indexes.last().map_or(0, |at| at + 1);
    let target = most.max(wanted.min(pods.replicas));
    if pods.replicas > target {
        let note = scaling(format!("the pods of members that are gone go, down to {target}"));
        return Plan { replicas: target, ..say(Step::Wait, note) };
    }
    if let Some(at) = pods.claims.iter().copied().find(|at| *at >= target) {
        let note = scaling(format!("the volume of {}, which is no member any more, goes", member(at)));
        let step = if pods.there.contains(&at) { Step::Wait } else { Step::DeleteClaim(at) };
        return say(step, note);
    }

    // Lost for good: what came back without its data must not pass for what it was.
    for (at, each) in ours.iter().filter(|(at, each)| !each.is_well() && others_unwell(*at).is_empty()) {
        let note = scaling(format!("{} has lost its data and is replaced", member(*at)));
        if pods.without_data.contains(at) {
            return say(Step::Remove { id: each.id, successor: None }, note);
        }
        if pods.lost_claims.contains(at) {
            return say(Step::Replace(*at), note);
        }
    }

    // Fewer than wanted: in with the first that is missing.
    if let Some(at) = (0..wanted.min(MOST)).find(|at| !indexes.contains(at)) {
        let what = format!("the addition of {}", member(at));
        return match unwell.is_empty() {
            true => say(Step::Add(at), scaling(what)),
            false => held(what, &unwell),
        };
    }
    if unwell.is_empty() {
        return say(Step::Rest, None);
    }
    let names: Vec<String> = unwell.iter().map(|at| member(*at)).collect();
    let message = format!(
        "{} of etcd does not answer; a quorum goes on without it. It is replaced by itself when its volume is lost; see \
         `kubectl describe pod`",
        names.join(" and ")
    );
    say(Step::Rest, Some((reason::MEMBER_MISSING, message)))
}

/// While a member joins, it is all that happens.
fn joining(wanted: i32, at: i32, learner: &Member, indexes: &[i32], pods: &Pods) -> Plan {
    let gives_up = at >= wanted && at > 0;
    let step = if gives_up {
        Step::Remove { id: learner.id, successor: None }
    } else if learner.started && learner.state.is_some() {
        Step::Promote(learner.id)
    } else if pods.without_data.contains(&at) {
        // It knows nothing yet of its new part, and would wait ever longer between its tries.
        Step::DeletePod(at)
    } else {
        Step::Wait
    };
    let message = format!("{} is joining, and gets its vote once it has caught up", member(at));
    Plan {
        step,
        replicas: if gives_up { pods.replicas } else { pods.replicas.max(at + 1) },
        start: Start::Join(indexes.to_vec()),
        note: Some((reason::SCALING, message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::MemberState;

    fn voter(at: i32) -> Member {
        Member {
            id: u64::try_from(at).unwrap() + 10,
            name: member(at),
            started: true,
            state: Some(MemberState::default()),
            ..Member::default()
        }
    }

    fn index(each: &Member) -> Option<i32> {
        each.name.rsplit_once('-')?.1.parse().ok()
    }

    fn next(wanted: i32, members: &[Member], pods: &Pods) -> Plan {
        let cluster = Cluster { leader: 10, members: members.to_vec(), ..Cluster::default() };
        plan(wanted, &cluster, pods, index)
    }

    fn pods(replicas: i32) -> Pods {
        let all: Vec<i32> = (0..replicas).collect();
        Pods { replicas, there: all.clone(), claims: all, ..Pods::default() }
    }

    #[test]
    fn a_member_is_added_without_a_vote_then_started_then_promoted() {
        assert_eq!(next(3, &[voter(0)], &pods(1)).step, Step::Add(1));
        let mut learner = Member { learner: true, started: false, state: None, ..voter(1) };
        let plan = next(3, &[voter(0), learner.clone()], &pods(1));
        assert_eq!((plan.step, plan.replicas), (Step::Wait, 2));
        assert_eq!(plan.start, Start::Join(vec![0, 1]));
        learner = Member { learner: true, ..voter(1) };
        assert_eq!(next(3, &[voter(0), learner], &pods(2)).step, Step::Promote(11));
        assert_eq!(next(3, &[voter(0), voter(1)], &pods(2)).step, Step::Add(2));
        let plan = next(3, &[voter(0), voter(1), voter(2)], &pods(3));
        assert_eq!((plan.step, plan.note, plan.start), (Step::Rest, None, Start::Nobody));
    }

    #[test]
    fn the_volume_of_an_earlier_member_goes_before_its_place_is_taken_again() {
        let mut stale = pods(1);
        stale.claims.push(1);
        assert_eq!(next(3, &[voter(0)], &stale).step, Step::DeleteClaim(1));
    }

    #[test]
    fn a_member_leaves_the_cluster_then_its_pod_goes_then_its_volume() {
        let three = [voter(0), voter(1), voter(2)];
        assert_eq!(next(1, &three, &pods(3)).step, Step::Remove { id: 12, successor: None });
        let plan = next(1, &three[..2], &pods(3));
        // The next is out before pods go: either order keeps a quorum.
        assert_eq!(plan.step, Step::Remove { id: 11, successor: None });
        let plan = next(1, &three[..1], &pods(3));
        assert_eq!((plan.step, plan.replicas), (Step::Wait, 1));
        let mut going = pods(3);
        going.replicas = 1;
        assert_eq!(next(1, &three[..1], &going).step, Step::Wait);
        going.there = vec![0, 2];
        assert_eq!(next(1, &three[..1], &going).step, Step::DeleteClaim(1));
    }

    #[test]
    fn a_leader_hands_over_before_it_leaves() {
        let cluster =
            Cluster { leader: 12, members: vec![voter(0), voter(1), voter(2)], ..Cluster::default() };
        let plan = plan(1, &cluster, &pods(3), index);
        assert_eq!(plan.step, Step::Remove { id: 12, successor: Some(10) });
    }

    #[test]
    fn nothing_changes_while_another_member_is_not_well() {
        let down = Member { state: None, ..voter(1) };
        for (wanted, members) in
            [(5, vec![voter(0), down.clone(), voter(2)]), (1, vec![voter(0), down, voter(2)])]
        {
            let plan = next(wanted, &members, &pods(3));
            assert_eq!(plan.step, Step::Rest);
            let (reason, message) = plan.note.unwrap();
            assert_eq!(reason, reason::MEMBER_UNHEALTHY);
            assert!(message.contains("kplane-etcd-1"), "{message}");
        }
        // The one that is to go may be the one that is not well.
        let down = Member { state: None, ..voter(2) };
        let plan = next(1, &[voter(0), voter(1), down], &pods(3));
        assert_eq!(plan.step, Step::Remove { id: 12, successor: None });
    }

    #[test]
    fn a_member_that_lost_its_data_is_replaced_and_one_that_is_down_is_not() {
        let down = Member { state: None, ..voter(1) };
        let members = [voter(0), down, voter(2)];
        let plan = next(3, &members, &pods(3));
        assert_eq!((plan.step, plan.note.unwrap().0), (Step::Rest, reason::MEMBER_MISSING));
        let mut lost = pods(3);
        lost.lost_claims.push(1);
        assert_eq!(next(3, &members, &lost).step, Step::Replace(1));
        lost.without_data.push(1);
        assert_eq!(next(3, &members, &lost).step, Step::Remove { id: 11, successor: None });
        assert_eq!(next(3, &[voter(0), voter(2)], &lost).step, Step::Add(1));
        let learner = Member { learner: true, started: false, state: None, ..voter(1) };
        assert_eq!(next(3, &[voter(0), learner, voter(2)], &lost).step, Step::DeletePod(1));
    }

    #[test]
    fn a_stranger_is_not_touched() {
        let stranger = Member { name: "owl".into(), ..voter(7) };
        let plan = next(1, &[voter(0), stranger], &pods(1));
        assert_eq!((plan.step, plan.note.unwrap().0), (Step::Rest, reason::MEMBER_UNHEALTHY));
    }
}
