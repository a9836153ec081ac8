//! A connection that no agent has at the client's side: to whom it goes, and what the server's side makes of it.

use std::net::SocketAddr;

use super::{
    Arrival, World,
    dialled::Dialled,
    origin::Client,
    question::{Asked, Question, Says},
    report::{StepName, Verdict},
    server,
    telling::{Telling, answered, refused},
};
use crate::{
    mesh::{Destination, Membership},
    observe::ResponseFlag,
};

pub(super) fn past_agent(
    world: &World<'_>,
    client: &Client,
    dialled: &Dialled,
    question: &Question,
    telling: &mut Telling,
) {
    let to = dialled.address;
    let (says, endpoints): (String, Vec<SocketAddr>) = match world.snapshot.destination(to) {
        Destination::Service(port) => (
            format!(
                "one of the endpoints of Service {} port {}, by what the node itself does for it",
                port.service,
                to.port()
            ),
            port.ready.iter().map(|endpoint| endpoint.address).collect(),
        ),
        Destination::UnknownServicePort(service) => {
            let step =
                telling.step(StepName::Destination, format!("Service {} has no port {}", service.name, to.port()));
            step.refuses();
            telling.possible(refused(1.0, ResponseFlag::NoRoute, "nothing serves that port of the Service".to_owned()));
            return;
        }
        Destination::Workload(pod) => (format!("pod {}/{} itself", pod.namespace, pod.name), vec![to]),
        Destination::Named(_) | Destination::External => (format!("{to}, outside the cluster"), vec![to]),
    };
    let step = telling.step(StepName::Destination, says);
    step.because.extend(dialled.because.iter().cloned());
    if endpoints.is_empty() {
        step.refuses();
        telling.possible(refused(1.0, ResponseFlag::NoHealthyUpstream, "the Service has no ready endpoint".to_owned()));
        return;
    }
    let says = question.says.clone().unwrap_or_else(|| Says::Request(Box::new(Asked::root())));
    if question.says.is_none() {
        telling.note("nothing is said about what the client sends: GET / is taken as an example");
    }
    let share = 1.0 / endpoints.len() as f64;
    for (index, endpoint) in endpoints.into_iter().enumerate() {
        let told = server::Told { share, backend: None, is_told: index == 0, carried: server::Carried::ByNobody };
        directly(world, client, endpoint, &says, told, telling);
    }
}

fn directly(
    world: &World<'_>,
    client: &Client,
    endpoint: SocketAddr,
    says: &Says,
    told: server::Told<'_>,
    telling: &mut Telling,
) {
    let pod = world.snapshot.workload(endpoint.ip());
    let Some(pod) = pod.filter(|pod| pod.membership == Membership::Enrolled) else {
        if told.is_told {
            let step = telling.step(StepName::Arrival, format!("at {endpoint}, which is not in the mesh"));
            step.verdict(Verdict::Bypasses).because("no agent is there to decide");
        }
        telling.possible(answered(told.share, "it goes to its destination as if there were no mesh"));
        return;
    };
    let arrival = Arrival { workload: pod, identity: None, client: client.address_towards(endpoint), to: endpoint };
    server::arrives(world, &arrival, says, told, telling);
}
