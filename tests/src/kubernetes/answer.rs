//! One request: journal, faults, token, and then the part of the server that answers it.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::admission::{self, Write};
use super::ask::{Asked, Verb};
use super::connection::Connection;
use super::discovery;
use super::failure::Failure;
use super::fault::Effect;
use super::list;
use super::rbac;
use super::resource::Resource;
use super::selector::Selector;
use super::server::Shared;
use super::shape::Shape;
use super::store::Store;
use super::tokens::TokenUser;
use super::watch::Watch;
use super::write::{self, Target};

/// The real server takes objects of up to 3 MiB.
const LARGEST_BODY: usize = 3 << 20;
const MERGE_PATCH: &str = "application/merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// An answer that is no stream.
struct Answer {
    status: StatusCode,
    body: Value,
}

impl Answer {
    fn ok(body: Value) -> Self {
        Self { status: StatusCode::OK, body }
    }
}

/// Answers; an error closes the connection.
pub(super) async fn answer(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let mut asked = Asked::read(request.method(), request.uri(), request.headers());
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let user = shared.tokens.user(authorization.unwrap_or_default(), &shared.store.lock());
    asked.user = user.as_ref().map(|user| user.username.clone()).unwrap_or_default();
    let line = shared.journal.asked(&asked);
    shared.until_not_silent().await;
    let mut response = None;
    for effect in shared.faults.strike(&asked) {
        match effect {
            Effect::Delay(by) => tokio::time::sleep(by).await,
            Effect::Status { code, retry_after } => response = Some(refusal(&Failure::injected(code, retry_after))),
            Effect::HangUp => return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the test wants it")),
        }
    }
    let response = match response {
        Some(response) => response,
        None => respond(&shared, &connection, user, &asked, request).await.unwrap_or_else(|failure| refusal(&failure)),
    };
    shared.until_not_silent().await;
    shared.journal.answered(line, response.status().as_u16());
    Ok(response)
}

async fn respond(
    shared: &Arc<Shared>,
    connection: &Arc<Connection>,
    user: Option<TokenUser>,
    asked: &Asked,
    request: Request<Incoming>,
) -> Result<Response<Body>, Failure> {
    let user = match user {
        Some(user) => user,
        None if discovery::is_public(&asked.path) => TokenUser::default(),
        None => return Err(Failure::unauthorized()),
    };
    rbac::authorize(&shared.store.lock(), &user, asked)?;
    if asked.resource.is_empty() {
        return outside_resources(shared, asked);
    }
    let found = shared.registry.at(&asked.group, &asked.version, &asked.resource);
    let resource = found.ok_or_else(Failure::no_such_path)?;
    if asked.verb == Verb::Watch && resource.stored {
        let watch = Watch::begin(shared, &resource, asked)?;
        let orders = shared.watches.open(watch.plural(), connection);
        return Ok(response(StatusCode::OK, "application/json", watch.stream(orders)));
    }
    let headers = request.headers().clone();
    let body = to_bytes(Body::new(request.into_body()), LARGEST_BODY).await;
    let body = body.map_err(|error| Failure::bad_request(format!("reading the body: {error}")))?;
    let warnings = match to_write(shared, &resource, asked, &headers, &body)? {
        Some(write) => admission::admit(shared, &resource, &write).await?,
        None => Vec::new(),
    };
    let answer = on_resource(shared, &resource, &user, asked, &headers, &body)?;
    let mut response = json_response(answer.status, &answer.body);
    for warning in warnings {
        let quoted = format!("299 - \"{}\"", warning.replace('\\', "\\\\").replace('"', "\\\""));
        let value = HeaderValue::from_str(&quoted).map_err(|_| Failure::bad_request("a warning is no header"))?;
        response.headers_mut().append(header::WARNING, value);
    }
    Ok(response)
}

/// What webhooks are asked about, as far as it can be told before the write itself checks it.
fn to_write(
    shared: &Shared,
    resource: &Resource,
    asked: &Asked,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Option<Write>, Failure> {
    if !resource.stored || !asked.subresource.is_empty() {
        return Ok(None);
    }
    let target = Target { resource, namespace: &asked.namespace, name: &asked.name, status: false };
    let before = target.find(&shared.store.lock()).ok().cloned();
    let (operation, mut object) = match asked.verb {
        Verb::Create => ("CREATE", read_body(headers, body)?),
        Verb::Update => ("UPDATE", read_body(headers, body)?),
        Verb::Patch => {
            let patch = match media_type(headers) {
                MERGE_PATCH => parse_json(body)?,
                APPLY_PATCH => parse_yaml(body)?,
                _ => return Ok(None),
            };
            let mut object = before.as_deref().cloned().unwrap_or_default();
            write::merge(&mut object, &patch);
            (if before.is_some() { "UPDATE" } else { "CREATE" }, object)
        }
        _ => return Ok(None),
    };
    if resource.namespaced && object["metadata"].is_object() {
        object["metadata"]["namespace"] = asked.namespace.clone().into();
    }
    Ok(Some(Write { operation, object, before }))
}

fn outside_resources(shared: &Shared, asked: &Asked) -> Result<Response<Body>, Failure> {
    if asked.verb != Verb::Get {
        return Err(Failure::method_not_allowed("only GET"));
    }
    if discovery::is_health(&asked.path) {
        return Ok(response(StatusCode::OK, "text/plain; charset=utf-8", "ok".into()));
    }
    let found = discovery::discover(&shared.registry, &asked.path).ok_or_else(Failure::no_such_path)?;
    Ok(json_response(StatusCode::OK, &found))
}

fn on_resource(
    shared: &Shared,
    resource: &Resource,
    user: &TokenUser,
    asked: &Asked,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Answer, Failure> {
    let shape = Shape::accepted(&asked.accept)?;
    if !resource.stored {
        return match asked.verb {
            Verb::Create => {
                let (asked, store) = (read_body(headers, body)?, shared.store.lock());
                let review = match &*resource.kind {
                    "TokenReview" => shared.tokens.review(&asked, &store)?,
                    kind => rbac::review(&store, user, kind, &asked)?,
                };
                Ok(Answer { status: StatusCode::CREATED, body: review })
            }
            verb => Err(Failure::method_not_allowed(&verb.to_string())),
        };
    }
    let status = match asked.subresource.as_str() {
        "" => false,
        "status" if resource.has_status && !matches!(asked.verb, Verb::Create | Verb::Delete) => true,
        _ => return Err(Failure::no_such_path()),
    };
    if !asked.parameter("dryRun").is_empty() {
        return Err(Failure::bad_request("dryRun is not served here"));
    }
    let target = Target { resource, namespace: &asked.namespace, name: &asked.name, status };
    let mut store = shared.store.lock();
    let answer = match asked.verb {
        Verb::Get => Ok(Answer::ok(shape.object(target.find(&store)?))),
        Verb::List => list::list(&store, resource, asked).map(Answer::ok),
        Verb::Create => {
            if !asked.name.is_empty() {
                return Err(Failure::method_not_allowed("POST to an object"));
            }
            let created = write::create(&mut store, target, read_body(headers, body)?)?;
            Ok(Answer { status: StatusCode::CREATED, body: shape.object(&created) })
        }
        Verb::Update => {
            write::update(&mut store, target, read_body(headers, body)?).map(|o| Answer::ok(shape.object(&o)))
        }
        Verb::Patch => patch(&mut store, target, asked, headers, body, shape),
        Verb::Delete => {
            let (object, gone) = write::delete(&mut store, target, &delete_options(body)?)?;
            Ok(Answer::ok(deleted(resource, &object, gone)))
        }
        Verb::DeleteCollection => delete_collection(&mut store, resource, asked, shape).map(Answer::ok),
        Verb::Watch | Verb::Unknown => Err(Failure::method_not_allowed(&asked.verb.to_string())),
    };
    let version = store.version();
    drop(store);
    shared.tell_changes(version);
    answer
}

fn patch(
    store: &mut Store,
    target: Target<'_>,
    asked: &Asked,
    headers: &HeaderMap,
    body: &Bytes,
    shape: Shape,
) -> Result<Answer, Failure> {
    let patched = match media_type(headers) {
        MERGE_PATCH => write::patch(store, target, &parse_json(body)?)?,
        APPLY_PATCH => {
            if asked.parameter("fieldManager").is_empty() {
                return Err(Failure::bad_request("fieldManager is required for apply patches"));
            }
            let is_new = target.find(store).is_err();
            let applied = write::apply(store, target, parse_yaml(body)?)?;
            let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
            return Ok(Answer { status, body: shape.object(&applied) });
        }
        other => return Err(Failure::unsupported_media_type(other, &format!("{MERGE_PATCH}, {APPLY_PATCH}"))),
    };
    Ok(Answer::ok(shape.object(&patched)))
}

/// The options may come as a body; without one there are none.
fn delete_options(body: &Bytes) -> Result<Value, Failure> {
    if body.is_empty() { Ok(Value::Null) } else { parse_json(body) }
}

/// Some kinds give back what is deleted, and all do what is only marked; the others say that it is done.
fn deleted(resource: &Resource, object: &Value, gone: bool) -> Value {
    if !gone || ["pods", "services", "serviceaccounts"].contains(&&*resource.plural) {
        return object.clone();
    }
    let metadata = &object["metadata"];
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {
            "name": metadata["name"], "group": resource.group, "kind": resource.plural, "uid": metadata["uid"],
        },
    })
}

fn delete_collection(store: &mut Store, resource: &Resource, asked: &Asked, shape: Shape) -> Result<Value, Failure> {
    let selector = Selector::parse(resource, asked.parameter("labelSelector"), asked.parameter("fieldSelector"))?;
    let path = format!("{}/{}", resource.api_version(), resource.plural);
    let found = store.list(&path, &asked.namespace).into_iter().filter(|(_, object)| selector.matches(object));
    let mut items = Vec::new();
    for (key, object) in found {
        let target = Target { resource, namespace: &key.namespace, name: &key.name, status: false };
        write::delete(store, target, &Value::Null)?;
        items.push(shape.item(&object));
    }
    let metadata = json!({"resourceVersion": store.version().to_string()});
    Ok(shape.list(resource, &metadata, items))
}

fn read_body(headers: &HeaderMap, body: &Bytes) -> Result<Value, Failure> {
    match media_type(headers) {
        "" | "application/json" => parse_json(body),
        "application/yaml" => parse_yaml(body),
        other => Err(Failure::unsupported_media_type(other, "application/json, application/yaml")),
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

fn parse_json(body: &Bytes) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::bad_request(format!("the body is no JSON: {error}")))
}

fn parse_yaml(body: &Bytes) -> Result<Value, Failure> {
    let text = std::str::from_utf8(body).map_err(|_| Failure::bad_request("the body is not UTF-8"))?;
    serde_saphyr::from_str(text).map_err(|error| Failure::bad_request(format!("the body is no YAML: {error}")))
}

fn refusal(failure: &Failure) -> Response<Body> {
    let status = StatusCode::from_u16(failure.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_response(status, &failure.status());
    if let Some(seconds) = failure.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn json_response(status: StatusCode, body: &Value) -> Response<Body> {
    response(status, "application/json", body.to_string().into())
}

fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}
