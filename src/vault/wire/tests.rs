use serde_json::Value;

use super::*;
use crate::exit::Exit;
use crate::model::Retry;
use crate::vault::decrypt::{self, PrivateKey};
use crate::vault::error::{Attempt, Fate, FetchError};

fn answer(status: u16, body: &str) -> Answer<'_> {
    Answer { status, after: None, body: body.as_bytes(), credentials: &["s3cret-credential"] }
}

fn failed(status: u16, body: &str) -> FetchError {
    let cause = secrets(&answer(status, body)).unwrap_err();
    FetchError { attempt: Attempt::ReadApplication, cause }
}

/// The class of a failure in the vectors' words.
fn class(error: &FetchError) -> &'static str {
    match (error.exit(), error.retry()) {
        (Exit::Settings, _) => "fatal-config",
        (Exit::Refused, _) => "fatal-auth",
        (Exit::Malformed, _) => "malformed",
        _ => "retryable",
    }
}

#[test]
fn every_vector_holds() {
    let vectors: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/vectors.json")).unwrap();
    assert!(vectors.len() >= 15);
    for vector in vectors {
        let name = vector["name"].as_str().unwrap();
        let status = u16::try_from(vector["http_status"].as_u64().unwrap()).unwrap();
        let body = &vector["body"];
        let body = body.as_str().map_or_else(|| body.to_string(), ToOwned::to_owned);
        let expected = vector["expect"]["class"].as_str().unwrap();
        match secrets(&answer(status, &body)) {
            Ok(mut bundle) => {
                let key = vector["private_key_pem"].as_str().and_then(PrivateKey::from_pem);
                decrypt::open_all(&mut bundle, key.as_ref());
                assert!(bundle.faults.is_empty(), "{name}: {:?}", bundle.faults);
                assert_eq!(expected == "absent", bundle.secrets.is_empty(), "{name}");
                assert!(matches!(expected, "ok" | "absent"), "{name}");
                holds_what_is_expected(name, &bundle, &vector["expect"]);
            }
            // A token that is refused costs a new login and one retry; refused again it is fatal.
            Err(Cause::TokenRefused { .. }) => assert_eq!(name, "20-gateway-token-expired"),
            Err(cause) => {
                let error = FetchError { attempt: Attempt::ReadApplication, cause };
                assert_eq!(class(&error), expected, "{name}: {error:?}");
            }
        }
    }
}

fn holds_what_is_expected(name: &str, bundle: &Bundle, expect: &Value) {
    let entries = expect["entries"].as_object().unwrap();
    assert_eq!(bundle.secrets.len(), entries.len(), "{name}");
    for (identity, items) in entries {
        let set = &bundle.secrets[&SecretName::new(identity.as_str()).unwrap()];
        let flat: serde_json::Map<String, Value> = set
            .flat()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), Value::from(value.expose().as_str())))
            .collect();
        assert_eq!(Value::from(flat), *items, "{name}");
        if let Some(collisions) = expect.get("collisions") {
            assert_eq!(Value::from(set.collisions()), *collisions, "{name}");
        }
    }
}

/// A success that carries one secret with this data.
fn with_data(data: &str) -> Result<Bundle, Cause> {
    let body = format!(
        r#"{{"response":{{"status":200,"error":false}},"secret":{{"identity":"s","data":{data}}}}}"#
    );
    secrets(&answer(200, &body))
}

fn entries_of(bundle: &Bundle) -> Vec<Vec<(String, String)>> {
    let set = bundle.secrets.values().next().unwrap();
    let item = |item: &Item| (item.key.clone(), item.value.expose().clone());
    set.entries.iter().map(|entry| entry.iter().map(item).collect()).collect()
}

#[test]
fn data_is_read_in_every_shape() {
    for (data, expected) in [
        (r#"{"k":"v"}"#, vec![vec![("k", "v")]]),
        (r#"[{"k":"v"},{"k":"w"}]"#, vec![vec![("k", "v")], vec![("k", "w")]]),
        (r#"{"0":{"k":"v"},"2":{"k":"w"}}"#, vec![vec![("k", "v")], vec![("k", "w")]]),
        (r#"{"0":"zero","1":"one"}"#, vec![vec![("0", "zero"), ("1", "one")]]),
        (r#"[[],{"k":null},null,{}]"#, vec![vec![("k", "")]]),
        (
            r#"{"n":1e3,"f":1.0,"b":true,"i":12345678901234567890}"#,
            vec![vec![("n", "1e3"), ("f", "1.0"), ("b", "true"), ("i", "12345678901234567890")]],
        ),
        ("{\"o\":{ \"a\" : [ 1 ] },\"a\":[ ]}", vec![vec![("o", r#"{"a":[1]}"#), ("a", "[]")]]),
        (r#"{"k":"first","k":"second"}"#, vec![vec![("k", "second")]]),
        (r#"{"k":"caf\u00e9 \ud83d\udd11 \u0000 \/"}"#, vec![vec![("k", "café \u{1f511} \0 /")]]),
    ] {
        let bundle = with_data(data).unwrap();
        let expected: Vec<Vec<(String, String)>> = expected
            .into_iter()
            .map(|entry| entry.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
            .collect();
        assert_eq!(entries_of(&bundle), expected, "{data}");
        assert!(bundle.faults.is_empty());
    }
}

#[test]
fn a_faulty_secret_is_named_and_the_others_are_kept() {
    for (data, expected) in [
        (r#"{"..":"v"}"#, "the key \"..\" of s"),
        (r#"{"a/b":"v"}"#, "the key \"a/b\" of s"),
        (r#"{"":"v"}"#, "the key \"\" of s"),
        (r#"{"..data":"v"}"#, "the key \"..data\" of s"),
        (r#"{"a\u0000":"v"}"#, "the key \"a\\0\" of s"),
        (r#"{"k":"\ud800"}"#, "the value of \"k\" of s"),
        ("[]", "s holds no values"),
        ("{}", "s holds no values"),
        ("[{}]", "s holds no values"),
        ("null", "the data of s"),
        ("\"text\"", "the data of s"),
        ("[1]", "the data of s"),
        ("[{\"k\":\"v\"},\"text\"]", "the data of s"),
    ] {
        let bundle = with_data(data).unwrap();
        assert!(bundle.secrets.is_empty(), "{data}");
        let fault = bundle.faults.first().unwrap().to_string();
        assert!(fault.starts_with(expected), "{data}: {fault}");
    }
    let body = r#"{"response":{"erro":false},"secrets":[
        {"identity":"../../escape","data":{"k":"v"}}, {"identity":"","data":{"k":"v"}},
        {"data":{"k":"v"}}, 7, {"identity":null,"data":{"k":"v"}},
        {"identity":"twice","data":{"k":"1"}}, {"identity":"twice","data":{"k":"2"}},
        {"identity":"good","data":{"k":"v"}}]}"#;
    let bundle = secrets(&answer(200, body)).unwrap();
    assert_eq!(bundle.secrets.keys().map(SecretName::as_str).collect::<Vec<_>>(), ["good"]);
    assert_eq!(bundle.faults.len(), 6);
}

#[test]
fn secrets_are_found_in_every_container() {
    let secret = r#"{"identity":"s","data":{"k":"v"}}"#;
    for container in [
        format!(r#""secret":{secret}"#),
        format!(r#""Secret":{secret}"#),
        format!(r#""SECRETS":[{secret}]"#),
        format!(r#""secrets":{{"3":{secret}}}"#),
        format!(r#""application":{{"secrets":[{secret}]}}"#),
        format!(r#""Application":{{"Secrets":[{secret}]}}"#),
        format!(r#""secret":null,"application":{{"secrets":[{secret}]}}"#),
    ] {
        let body = format!(r#"{{"response":{{"status":200}},{container}}}"#);
        assert_eq!(secrets(&answer(200, &body)).unwrap().secrets.len(), 1, "{container}");
    }
    for empty in [r#""secret":{}"#, r#""secrets":[]"#, r#""application":{"secrets":[]}"#] {
        let body = format!(r#"{{"response":{{"status":200}},{empty}}}"#);
        let bundle = secrets(&answer(200, &body)).unwrap();
        assert!(bundle.secrets.is_empty() && bundle.faults.is_empty(), "{empty}");
    }
}

#[test]
fn portuguese_names_are_aliases() {
    let body = r#"{"response":{"status":200,"mensagem":"ok","erro":false},"secret":{
        "identificador":"s","secret_nome":"n","versão":"3","motor":"Generic","secret_id":213,
        "renew_cloud_time":"","renew_credential_time":"30","renew_ephemeral_credential_time":20,
        "valores":[{"k":"v"}]}}"#;
    let bundle = secrets(&answer(200, body)).unwrap();
    let set = bundle.secrets.values().next().unwrap();
    let fields = (set.id.as_str(), set.name.as_str(), set.version.as_str(), set.engine.as_str());
    assert_eq!(fields, ("213", "n", "3", "Generic"));
    assert_eq!(set.renew, Some(20));
}

#[test]
fn an_answer_that_reports_a_failure_is_never_a_success() {
    let secret = r#""secret":{"identity":"s","data":{"k":"v"}}"#;
    for (envelope, expected) in [
        (r#""response":{"status":200,"error":true}"#, "retryable"),
        (r#""response":{"status":200,"erro":true,"mensagem":"Falha"}"#, "retryable"),
        (r#""response":{"status":200,"error":false,"erro":"1"}"#, "retryable"),
        (r#""response":{"status":500,"error":false}"#, "retryable"),
        (r#""code":503,"response":{"status":200,"error":false}"#, "retryable"),
        (r#""response":{"status":"401","error":false}"#, "fatal-auth"),
        (
            r#""response":{"status":200,"error":true,"message":"Inactive authorization"}"#,
            "fatal-auth",
        ),
        (
            r#""response":{"status":200},"exception":{"code":1039,"message":"1039: x"}"#,
            "fatal-auth",
        ),
        (r#""response":{"status":200},"exception":{"code":1011,"message":"x"}"#, "fatal-config"),
        (r#""error":"invalid_client""#, "fatal-auth"),
        (r#""response":{}"#, "malformed"),
        (r#""response":[]"#, "malformed"),
        (r#""response":{"status":"soon"}"#, "malformed"),
        (r#""response":{"error":"maybe"}"#, "malformed"),
        (r#""tenant":"Segura""#, "malformed"),
    ] {
        let error = failed(200, &format!("{{{envelope},{secret}}}"));
        assert_eq!(class(&error), expected, "{envelope}: {error:?}");
    }
    let sound = r#""response":{"status":201,"error":false,"erro":0,"error_code":0}"#;
    assert!(secrets(&answer(200, &format!("{{{sound},{secret}}}"))).is_ok());
    let bare = r#"{"response":{"status":200,"error":false},"tenant":"Segura"}"#;
    assert_eq!(class(&failed(200, bare)), "malformed");
}

#[test]
fn the_error_table_holds() {
    let envelope = |status: u16, message: &str, code: u32| {
        format!(
            r#"{{"code":{status},"response":{{"status":{status},"message":"{message}","error":true,"error_code":{code}}}}}"#
        )
    };
    for (status, body, exit, retry) in [
        (404, r#"{"message":"no Route matched with those values"}"#.to_owned(), 77, Retry::Backoff),
        (401, r#"{"exp":"token expired"}"#.to_owned(), 77, Retry::Backoff),
        (403, r#"{"message":"Invalid signature"}"#.to_owned(), 77, Retry::Backoff),
        (401, r#"{"message":"Client authentication failed"}"#.to_owned(), 77, Retry::Never),
        (400, r#"{"error":"unsupported_grant_type"}"#.to_owned(), 78, Retry::Never),
        (401, envelope(401, "Inactive authorization", 1), 77, Retry::Never),
        (404, envelope(404, "Resource sub not found", 4), 78, Retry::Never),
        (400, envelope(400, "1011: Device not found", 1), 78, Retry::Never),
        (400, envelope(400, "1009: no", 1), 77, Retry::Never),
        (500, r#"{"exception":{"code":0,"message":"x"}}"#.to_owned(), 69, Retry::Backoff),
        (400, envelope(400, "1039: no", 1), 77, Retry::Never),
        (
            500,
            envelope(500, "You are not authorized to access this resource.", 1),
            77,
            Retry::Backoff,
        ),
        (500, envelope(500, "Unexpected error.", 1), 69, Retry::Backoff),
        (500, envelope(500, "Ocorreu um erro ao criptografar o texto", 1), 78, Retry::Never),
        (502, "<html>".to_owned(), 69, Retry::Backoff),
        (503, String::new(), 69, Retry::Backoff),
        (504, r#"{"message":"The upstream server is timing out"}"#.to_owned(), 69, Retry::Backoff),
        (429, r#"{"message":"API rate limit exceeded"}"#.to_owned(), 69, Retry::Backoff),
        (404, "<html>not found</html>".to_owned(), 77, Retry::Backoff),
        (302, String::new(), 76, Retry::Backoff),
        (200, "<html>log in</html>".to_owned(), 76, Retry::Backoff),
        (200, String::new(), 76, Retry::Backoff),
        (200, "[]".to_owned(), 76, Retry::Backoff),
    ] {
        let error = failed(status, &body);
        assert_eq!(error.exit().code(), exit, "{status} {body}");
        assert_eq!(error.retry(), retry, "{status} {body}");
    }
    let limited = Answer { after: Some(Duration::from_secs(9)), ..answer(429, "") };
    let error = FetchError { attempt: Attempt::ReadSecrets, cause: secrets(&limited).unwrap_err() };
    assert_eq!(error.retry(), Retry::After(Duration::from_secs(9)));
    assert_eq!(error.fate(), Fate::NotDone);
}

#[test]
fn an_answer_too_long_or_too_deep_is_refused() {
    let deep = format!(
        r#"{{"response":{{"status":200}},"secrets":{}{}}}"#,
        "[".repeat(100),
        "]".repeat(100)
    );
    assert!(matches!(failed(200, &deep).cause, Cause::Malformed(Malformation::TooDeep(_))));
    let long = " ".repeat(LONGEST + 1);
    assert!(matches!(failed(200, &long).cause, Cause::Malformed(Malformation::TooLong(_))));
}

#[test]
fn no_error_quotes_a_value_or_a_credential() {
    let bodies = [
        r#"{"response":{"status":200},"secret":{"identity":"s","data":{"k":"canary"#.to_owned(),
        r#"{"response":{"status":"canary"},"secret":{}}"#.to_owned(),
        r#"{"message":"bad token s3cret-credential"}"#.to_owned(),
        r#"{"response":{"status":200},"secret":{"identity":"s","data":{"../k":"canary"}}}"#
            .to_owned(),
    ];
    for body in bodies {
        for status in [200, 400, 401, 404, 500] {
            let shown = match secrets(&answer(status, &body)) {
                Ok(bundle) => format!("{bundle:?} {:?}", bundle.faults),
                Err(cause) => {
                    let error = FetchError { attempt: Attempt::ReadApplication, cause };
                    format!("{error:?} {}", crate::exit::chain(&error))
                }
            };
            assert!(
                !shown.contains("canary") && !shown.contains("s3cret-cred"),
                "{status}: {shown}"
            );
        }
    }
}

#[test]
fn tokens_are_read_with_their_lifetime() {
    let read =
        |body: &str| token(&answer(200, body)).map(|t| (t.value.expose().clone(), t.lifetime));
    let full = r#"{"token_type":"Bearer","expires_in":3600,"access_token":"a.b.c"}"#;
    assert_eq!(read(full).unwrap(), ("a.b.c".to_owned(), Duration::from_secs(3600)));
    let text = r#"{"expires_in":"60","access_token":"t"}"#;
    assert_eq!(read(text).unwrap().1, Duration::from_secs(60));
    assert_eq!(read(r#"{"access_token":"t"}"#).unwrap().1, UNKNOWN_LIFETIME);
    assert_eq!(read(r#"{"access_token":"t","expires_in":-5}"#).unwrap().1, UNKNOWN_LIFETIME);
    for body in
        ["{}", r#"{"access_token":""}"#, r#"{"access_token":"a\nb"}"#, r#"{"access_token":null}"#]
    {
        assert!(matches!(read(body), Err(Cause::Malformed(Malformation::NoToken))), "{body}");
    }
}

#[test]
fn an_answer_that_has_to_succeed_only_needs_no_content() {
    for body in ["", "{}", r#"{"response":{"status":200,"error":false}}"#] {
        assert!(done(&answer(200, body)).is_ok(), "{body}");
    }
    assert!(done(&answer(200, r#"{"response":{"error":true}}"#)).is_err());
    assert!(done(&answer(404, "")).is_err());
}

#[test]
fn only_the_vaults_own_words_are_a_refusal() {
    let envelope = |status: u16, message: &str| {
        format!(r#"{{"response": {{"status": {status}, "error": true, "message": "{message}"}}}}"#)
    };
    for (status, body, expected) in [
        (404, r#"{"message":"no Route matched with those values"}"#.to_owned(), true),
        (401, r#"{"exp":"token expired"}"#.to_owned(), true),
        (401, r#"{"message":"Invalid signature"}"#.to_owned(), true),
        (403, r#"{"message":"Invalid signature"}"#.to_owned(), true),
        (429, "<html>slow down</html>".to_owned(), true),
        (400, envelope(400, "1011: Device not found"), true),
        (401, envelope(401, "Inactive authorization"), true),
        (500, envelope(500, "You are not authorized to access this resource."), true),
        (400, envelope(400, "Request timed out."), false),
        (403, r#"{"message":"no Route matched with those values"}"#.to_owned(), false),
        (404, r#"{"message":"no Route matched with those values","id":"1"}"#.to_owned(), false),
        (404, r#"{"message":"Not Found"}"#.to_owned(), false),
        (403, r#"{"message":"Forbidden"}"#.to_owned(), false),
        (401, r#"{"error":"invalid_client"}"#.to_owned(), false),
        (404, r#"{"response":"no Route matched with those values"}"#.to_owned(), false),
        (404, r#"{"response":{"message":"blocked"}}"#.to_owned(), false),
        (403, "<html>blocked</html>".to_owned(), false),
        (302, String::new(), false),
        (404, String::new(), false),
    ] {
        let answer = Answer { status, after: None, body: body.as_bytes(), credentials: &[] };
        assert_eq!(answer.is_refusal(), expected, "{status} {body}");
    }
}
