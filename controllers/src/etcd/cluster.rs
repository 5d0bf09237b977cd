//! What a cluster of etcd says of itself (client required), and what can be asked of it.

use std::time::Duration;

use etcd_client::{AlarmAction, AlarmOptions, AlarmType, Client, MemberAddOptions};
use futures::future::join_all;

use super::client::{Access, soon, within};
use crate::Error;

/// How long a member may take to write its file anew: some hundred megabytes a second, at most 8 GiB.
const DEFRAGMENTATION: Duration = Duration::from_secs(180);

/// A cluster that has a leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its id.
    pub id: u64,
    /// The id of its leader.
    pub leader: u64,
    /// Its members, those that do not answer among them.
    pub members: Vec<Member>,
    /// The members that refuse writes for want of space.
    pub no_space: Vec<u64>,
    /// The members whose data differs from the others'.
    pub corrupt: Vec<u64>,
}

/// A member, as the leader knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its name; that of its address for the others while it has not started.
    pub name: String,
    /// Its address for the others.
    pub peer: String,
    /// Whether it has no vote yet.
    pub learner: bool,
    /// Whether it has ever started.
    pub started: bool,
    /// What it says of itself; `None` when it does not answer.
    pub state: Option<MemberState>,
}

/// What a member says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberState {
    /// The bytes of its file.
    pub size: i64,
    /// The bytes of it that are in use.
    pub used: i64,
    /// The bytes that it may have; 0 when it does not say, as before etcd 3.6.
    pub quota: i64,
    /// The newest revision it has.
    pub revision: i64,
}

impl Member {
    /// Whether it votes and answers.
    pub fn is_well(&self) -> bool {
        !self.learner && self.started && self.state.is_some()
    }
}

/// What one address answered to the question for its state.
struct Answer {
    id: u64,
    leader: u64,
    term: u64,
    endpoint: String,
    state: MemberState,
}

async fn ask(access: &Access, endpoint: &str) -> Result<Answer, Error> {
    let mut client = access.connect(&[endpoint.to_owned()]).await?;
    let status = soon(client.status()).await?;
    let header = status.header();
    Ok(Answer {
        id: header.map_or(0, |h| h.member_id()),
        leader: status.leader(),
        term: status.raft_term(),
        endpoint: endpoint.to_owned(),
        state: MemberState {
            size: status.db_size(),
            used: status.raft_used_db_size(),
            quota: status.db_size_quota(),
            revision: header.map_or(0, |h| h.revision()),
        },
    })
}

/// Asks the members at these addresses. An error when none answers, or when those that do have no leader that can
/// decide anything.
pub async fn look(access: &Access, endpoints: &[String]) -> Result<Cluster, Error> {
    let answers = join_all(endpoints.iter().map(|endpoint| ask(access, endpoint))).await;
    let mut answered = Vec::new();
    let mut failure = None;
    for answer in answers {
        match answer {
            Ok(answer) => answered.push(answer),
            Err(error) => failure = Some(error),
        }
    }
    let newest = answered.iter().filter(|a| a.leader != 0).max_by_key(|a| a.term).map(|a| a.leader);
    let Some(leader) = newest.and_then(|leader| answered.iter().find(|a| a.id == leader)) else {
        return Err(match (answered.is_empty(), failure) {
            (true, Some(error)) => error,
            _ => Error::Etcd("the members that answer have no leader".into()),
        });
    };
    // The leader knows the members best; that it still is the leader, a read that a quorum confirms shows.
    let mut client = leader_client(access, &leader.endpoint).await?;
    let listed = soon(client.member_list()).await?;
    let alarms = soon(client.alarm(AlarmAction::Get, AlarmType::None, None)).await?;
    let with = |alarm: AlarmType| {
        let found = alarms.alarms().iter().filter(|a| a.alarm() == alarm);
        found.map(|a| a.member_id()).collect()
    };
    let members = listed.members().iter().map(|member| {
        let peer = member.peer_urls().first().cloned().unwrap_or_default();
        let name = if member.name().is_empty() { host(&peer) } else { member.name() };
        Member {
            id: member.id(),
            name: name.to_owned(),
            learner: member.is_learner(),
            started: !member.name().is_empty(),
            state: answered.iter().find(|a| a.id == member.id()).map(|a| a.state.clone()),
            peer: peer.clone(),
        }
    });
    Ok(Cluster {
        id: listed.header().map_or(0, |h| h.cluster_id()),
        leader: leader.id,
        members: members.collect(),
        no_space: with(AlarmType::Nospace),
        corrupt: with(AlarmType::Corrupt),
    })
}

async fn leader_client(access: &Access, endpoint: &str) -> Result<Client, Error> {
    let mut client = access.connect(&[endpoint.to_owned()]).await?;
    soon(client.get("\0", None)).await?;
    Ok(client)
}

/// The first label of the host in an address.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['.', ':', '/']).next().unwrap_or(rest)
}

/// Adds a member that has no vote yet.
pub async fn add(access: &Access, endpoints: &[String], peer: &str) -> Result<(), Error> {
    let mut client = access.connect(endpoints).await?;
    let options = MemberAddOptions::new().with_is_learner();
    soon(client.member_add([peer.to_owned()], Some(options))).await.map(drop)
}

/// Gives a member its vote. etcd refuses while it has not caught up.
pub async fn promote(access: &Access, endpoints: &[String], id: u64) -> Result<(), Error> {
    let mut client = access.connect(endpoints).await?;
    soon(client.member_promote(id)).await.map(drop)
}

/// Removes a member.
pub async fn remove(access: &Access, endpoints: &[String], id: u64) -> Result<(), Error> {
    let mut client = access.connect(endpoints).await?;
    soon(client.member_remove(id)).await.map(drop)
}

/// Makes another member the leader, asking the one that is.
pub async fn move_leader(access: &Access, leader: &str, to: u64) -> Result<(), Error> {
    let mut client = access.connect(&[leader.to_owned()]).await?;
    within(Duration::from_secs(15), client.move_leader(to)).await.map(drop)
}

/// Lets a member write its file anew, without what is not in use. It serves nobody meanwhile.
pub async fn defragment(access: &Access, endpoint: &str) -> Result<(), Error> {
    let mut client = access.connect(&[endpoint.to_owned()]).await?;
    within(DEFRAGMENTATION, client.defragment()).await.map(drop)
}

/// Lets a member that was out of space take writes again.
pub async fn disarm(access: &Access, endpoints: &[String], id: u64) -> Result<(), Error> {
    let mut client = access.connect(endpoints).await?;
    let mut options = AlarmOptions::new();
    options.with_member(id);
    soon(client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(options))).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_has_not_started_has_the_name_of_its_address() {
        assert_eq!(host("https://owl-1.owl.barn.svc:2380"), "owl-1");
        assert_eq!(host("http://localhost:2380"), "localhost");
    }
}
