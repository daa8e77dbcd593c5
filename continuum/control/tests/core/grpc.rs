//! The API as a generic gRPC client sees it: it knows the contract by reflection alone.

use std::collections::BTreeSet;

use continuum_control_api::grpc::codec::DynamicCodec;
use continuum_control_api::rest::API;
use continuum_runtime::net::channel;
use continuum_runtime::{Identity, Role};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Value, json};
use tokio_stream::StreamExt;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use tonic_types::StatusExt;

use crate::core_cluster::pair_at_rest;
use crate::support::{Cluster, PATIENCE, eventually};

const SERVICE: &str = "continuum.api.v1.Control";

struct Client {
    node: String,
    channel: Channel,
    pool: DescriptorPool,
}

async fn reflected(channel: &Channel, ask: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let mut client = ServerReflectionClient::new(channel.clone());
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer: ServerReflectionResponse =
        answers.into_inner().next().await.expect("an answer").unwrap();
    answer.message_response.expect("a message")
}

impl Client {
    /// A client of a node that does not lead.
    async fn follower(cluster: &Cluster) -> Self {
        let leader = cluster.leader().await;
        let peer = cluster.peers.iter().find(|peer| peer.name != leader).unwrap();
        let network = cluster.network(&Identity::new(Role::Operator, "grpc"));
        let expect = Identity::new(Role::Core, &peer.name);
        let channel = channel(&network, &peer.api_address, &expect);
        let MessageResponse::ListServicesResponse(services) =
            reflected(&channel, MessageRequest::ListServices(String::new())).await
        else {
            panic!("no list of services");
        };
        let names: BTreeSet<_> = services.service.into_iter().map(|service| service.name).collect();
        assert!(names.contains(SERVICE) && names.contains("grpc.health.v1.Health"), "{names:?}");
        let ask = MessageRequest::FileContainingSymbol(SERVICE.into());
        let MessageResponse::FileDescriptorResponse(files) = reflected(&channel, ask).await else {
            panic!("no descriptor");
        };
        let mut pool = DescriptorPool::global();
        for file in files.file_descriptor_proto {
            pool.decode_file_descriptor_proto(file.as_slice()).unwrap();
        }
        Self { node: peer.name.clone(), channel, pool }
    }

    fn request(
        &self,
        call: &str,
        fields: Value,
    ) -> (DynamicMessage, DynamicCodec, http::uri::PathAndQuery) {
        let service = self.pool.get_service_by_name(SERVICE).unwrap();
        let method = service.methods().find(|method| method.name() == call).unwrap();
        let message = DynamicMessage::deserialize(method.input(), fields).unwrap();
        let path = format!("/{SERVICE}/{call}").parse().unwrap();
        (message, DynamicCodec(method.output()), path)
    }

    async fn call_with(
        &self,
        call: &str,
        fields: Value,
        metadata: &[(&'static str, &str)],
    ) -> Result<(Value, tonic::metadata::MetadataMap), Status> {
        let (message, codec, path) = self.request(call, fields);
        let mut request = Request::new(message);
        for (name, value) in metadata {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let (metadata, message, _) = grpc.unary(request, path, codec).await?.into_parts();
        Ok((as_json(&message), metadata))
    }

    async fn call(&self, call: &str, fields: Value) -> Result<Value, Status> {
        self.call_with(call, fields, &[]).await.map(|(value, _)| value)
    }
}

fn as_json(message: &DynamicMessage) -> Value {
    let options =
        SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).unwrap()
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_is_moved_by_a_client_that_knows_nothing_but_reflection() {
    let (cluster, _client, _fsn, _hel) = pair_at_rest().await;
    let api = Client::follower(&cluster).await;
    let plan = api.call("SwitchOver", json!({ "pair": "shop", "to": "hel", "dry_run": true }));
    let plan = plan.await.unwrap();
    assert_eq!((&plan["plan"]["allowed"], plan.get("operation")), (&json!(true), None), "{plan}");

    let (message, codec, path) = api.request("StreamEvents", json!({ "pair": "shop" }));
    let mut grpc = Grpc::new(api.channel.clone());
    grpc.ready().await.unwrap();
    let stream = grpc.server_streaming(Request::new(message), path, codec).await.unwrap();
    let key = [("idempotency-key", "chg-1")];
    let order = json!({ "pair": "shop", "to": "hel", "reason": "CHG-1" });
    let (started, metadata) = api.call_with("SwitchOver", order.clone(), &key).await.unwrap();
    let id = started["operation"]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        started["operation"]["actor"], "operator/grpc",
        "the caller's name is carried along"
    );
    assert_eq!(metadata.get("location").unwrap(), &format!("{API}/operations/{id}"));
    let (again, _) = api.call_with("SwitchOver", order, &key).await.unwrap();
    assert_eq!(again["operation"]["id"], id, "the same key is the same operation");
    let other = json!({ "pair": "shop", "to": "fsn" });
    let reused = api.call_with("SwitchOver", other, &key).await.unwrap_err();
    assert_eq!(reason(&reused), "idempotency-key-reused");

    eventually("the move ended", || async {
        let operation = api.call("GetOperation", json!({ "operation": id })).await.ok()?;
        (operation["state"] == json!({ "state": "done" }) || operation["state"] == "done")
            .then_some(())
    })
    .await;
    let pair = api.call("GetPair", json!({ "pair": "shop" })).await.unwrap();
    assert_eq!((&pair["holder"], &pair["epoch"]), (&json!("hel"), &json!(2)), "{pair}");

    // The records of the move came over the stream that was opened before it, in order.
    let mut records = stream.into_inner();
    let told = async {
        let mut told = Vec::new();
        while !told.iter().any(|record: &Value| record["after"] == "done") {
            told.push(as_json(&records.next().await.expect("no end").unwrap()));
        }
        told
    };
    let told = tokio::time::timeout(PATIENCE, told).await.expect("the records come");
    assert!(told.iter().all(|record| record["pair"] == "shop"), "{told:?}");
    let places: Vec<u64> = told.iter().map(|record| record["index"].as_u64().unwrap()).collect();
    assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_pages_and_conditions_are_those_of_the_routes() {
    let cluster = Cluster::start().await;
    cluster.apply_spec().await;
    let api = Client::follower(&cluster).await;
    let none = api.call("GetPair", json!({ "pair": "none" })).await.unwrap_err();
    assert_eq!((none.code(), reason(&none).as_str()), (Code::NotFound, "pair-not-found"));
    let unset = api.call("GetPair", json!({})).await.unwrap_err();
    assert_eq!(unset.code(), Code::InvalidArgument);
    assert!(unset.message().starts_with("pair: "), "{unset}");
    let slash = api.call("GetPair", json!({ "pair": "../core" })).await.unwrap_err();
    assert_eq!((slash.code(), reason(&slash).as_str()), (Code::InvalidArgument, "path-refused"));
    let refused = json!({ "pair": "shop", "to": "mars" });
    let refused = api.call("SwitchOver", refused).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");

    // A spec makes the way there and back without losing anything.
    let (shop, metadata) = api.call_with("GetPair", json!({ "pair": "shop" }), &[]).await.unwrap();
    assert_eq!(metadata.get("etag").unwrap(), "\"1\"");
    for number in 0..3 {
        let mut spec = shop["spec"].clone();
        spec["id"] = format!("pair-{number}").into();
        spec["labels"] = json!({ "env": "test" });
        let fields = json!({ "pair": spec["id"], "spec": spec, "reason": "test" });
        let only_new = [("if-none-match", "*")];
        let made = api.call_with("ApplyPair", fields.clone(), &only_new).await.unwrap().0;
        assert_eq!((&made["version"], &made["spec"]), (&json!(1), &spec));
        let stale = api.call_with("ApplyPair", fields, &only_new).await.unwrap_err();
        assert_eq!(reason(&stale), "precondition-failed");
    }
    // Where a rule keeps a request, the answer is what waits, and nothing else.
    let mut till = shop["spec"].clone();
    till["id"] = "till".into();
    till["labels"] = json!({ "env-type": "prod" });
    api.call("ApplyPair", json!({ "pair": "till", "spec": till })).await.unwrap();
    let rule = json!({
        "name": "till", "selector": "env-type=prod", "verbs": ["pause"], "approver": "operator",
        "exempt": null, "reason": "test",
    });
    api.call("SetRule", rule).await.unwrap();
    let pause = json!({ "pair": "till", "reason": "test", "for_ms": 1_000 });
    let kept = api.call("PauseAutomation", pause).await.unwrap();
    assert_eq!(kept["kept"]["requester"], "operator/grpc", "{kept}");
    assert_eq!(kept.as_object().unwrap().len(), 1, "{kept}");
    let waiting = api.call("ListApprovals", json!({})).await.unwrap();
    assert_eq!(waiting["items"][0]["id"], kept["kept"]["id"], "{waiting}");

    let (mut cursor, mut names) = (None, Vec::new());
    loop {
        let page = json!({ "selector": "env=test", "limit": 2, "cursor": cursor });
        let page = api.call("ListPairs", page).await.unwrap();
        let items = page["items"].as_array().unwrap();
        names.extend(items.iter().map(|pair| pair["spec"]["id"].as_str().unwrap().to_owned()));
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(names, ["pair-0", "pair-1", "pair-2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_that_of_the_node_and_certificates_without_rights_are_refused() {
    let cluster = Cluster::start().await;
    let api = Client::follower(&cluster).await;
    let mut health = HealthClient::new(api.channel.clone());
    for service in ["", SERVICE] {
        let request = HealthCheckRequest { service: service.into() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(
            answer.status(),
            tonic_health::pb::health_check_response::ServingStatus::Serving
        );
    }
    let unknown = HealthCheckRequest { service: "x".into() };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);
    let request = HealthCheckRequest { service: String::new() };
    let mut changes = health.watch(request).await.unwrap().into_inner();
    let first = changes.next().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);

    let peer = &cluster.peers[0];
    let network = cluster.network(&Identity::new(Role::Region, "fsn"));
    let stranger = channel(&network, &peer.api_address, &Identity::new(Role::Core, &peer.name));
    let stranger = Client { node: peer.name.clone(), channel: stranger, pool: api.pool.clone() };
    let refused = stranger.call("GetStatus", json!({})).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "forbidden"));

    // A bearer decides, also beside a certificate that may do everything.
    let bad = [("authorization", "Bearer ctm_none_0000")];
    let refused = api.call_with("GetStatus", json!({}), &bad).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::Unauthenticated, "unauthenticated")
    );

    // The other nodes go: this one says by itself that it cannot have requests answered.
    for peer in cluster.peers.iter().filter(|peer| peer.name != api.node) {
        cluster.kill(&peer.name).await;
    }
    let change = tokio::time::timeout(PATIENCE, changes.next()).await.expect("it is told");
    assert_eq!(change.unwrap().unwrap().status(), ServingStatus::NotServing);
}
