//! The policies keep to what every API server that has the v1 of the API understands.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::yaml::policy;

/// Functions and macros of CEL's standard, of its strings library (2) and of Kubernetes' lists library, all there since
/// Kubernetes 1.29. The environment of expressions is that of the release before the server's.
const KNOWN: [&str; 16] = [
    "all",
    "dyn",
    "exists",
    "filter",
    "has",
    "indexOf",
    "int",
    "join",
    "map",
    "matches",
    "orValue",
    "size",
    "split",
    "startsWith",
    "string",
    "trim",
];

fn both() -> [Value; 2] {
    ["MutatingAdmissionPolicy", "ValidatingAdmissionPolicy"]
        .map(|kind| policy(kind, "segura-agent"))
}

/// Every expression of a part of a policy.
fn expressions(part: &Value) -> Vec<&str> {
    match part {
        Value::Object(entries) => entries
            .iter()
            .flat_map(|(key, value)| match (key.as_str(), value) {
                ("expression" | "messageExpression", Value::String(text)) => vec![text.as_str()],
                _ => expressions(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(expressions).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// An expression without what stands between quotes.
fn bare(expression: &str) -> String {
    expression.split('\'').step_by(2).collect()
}

/// The words of an expression that stand right before one of `ends`.
fn words_before(expression: &str, end: char) -> BTreeSet<String> {
    let bare = bare(expression);
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let pieces = bare.match_indices(end).map(|(at, _)| &bare[..at]);
    let words = pieces.map(|before| &before[before.trim_end_matches(is_word).len()..]);
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The variables that an expression names.
fn variables(expression: &str) -> BTreeSet<String> {
    let bare = bare(expression);
    let is_word = |c: char| c.is_ascii_alphanumeric();
    let pieces = bare.split("variables.").skip(1);
    pieces.map(|rest| rest.split(|c| !is_word(c)).next().expect("one").to_owned()).collect()
}

#[test]
fn no_function_is_newer_than_the_policies() {
    for policy in both() {
        for expression in expressions(&policy["spec"]) {
            for function in words_before(expression, '(') {
                assert!(KNOWN.contains(&function.as_str()), "{function} in {expression}");
            }
        }
    }
}

#[test]
fn constructors_are_used_in_mutations_alone() {
    for policy in both() {
        for part in ["matchConditions", "variables", "validations"] {
            for expression in expressions(&policy["spec"][part]) {
                assert!(!bare(expression).contains("Object"), "{expression}");
                assert!(!bare(expression).contains("JSONPatch"), "{expression}");
            }
        }
    }
}

#[test]
fn each_variable_is_defined_before_its_use_and_used() {
    for policy in both() {
        let spec = &policy["spec"];
        let conditions = expressions(&spec["matchConditions"]);
        assert!(
            conditions.iter().all(|condition| variables(condition).is_empty()),
            "none is promised"
        );
        let mut defined = BTreeSet::new();
        let mut used = BTreeSet::new();
        for variable in spec["variables"].as_array().expect("variables") {
            let named = variables(variable["expression"].as_str().expect("CEL"));
            assert!(named.is_subset(&defined), "{variable}");
            used.extend(named);
            assert!(
                defined.insert(variable["name"].as_str().expect("a name").to_owned()),
                "{variable}"
            );
        }
        let ends =
            ["mutations", "validations"].into_iter().flat_map(|part| expressions(&spec[part]));
        used.extend(ends.flat_map(variables));
        assert_eq!(used, defined);
    }
}

#[test]
fn the_api_server_handles_the_policies_as_documented() {
    let [mutating, validating] = both();
    assert_eq!(mutating["apiVersion"], "admissionregistration.k8s.io/v1");
    assert_eq!(mutating["spec"]["failurePolicy"], "Fail");
    assert_eq!(mutating["spec"]["reinvocationPolicy"], "IfNeeded");
    assert_eq!(validating["spec"]["failurePolicy"], "Fail");
    let pods = json!([{
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
    }]);
    assert_eq!(
        mutating["spec"]["matchConstraints"]["resourceRules"], pods,
        "never ephemeral containers"
    );

    let bindings = [
        policy("MutatingAdmissionPolicyBinding", "segura-agent"),
        policy("ValidatingAdmissionPolicyBinding", "segura-agent-pods"),
        policy("ValidatingAdmissionPolicyBinding", "segura-agent-workloads"),
    ];
    let [first, pods_binding, workloads] = &bindings;
    for binding in &bindings {
        assert_eq!(binding["spec"]["policyName"], "segura-agent");
        let selector = "namespaceSelector";
        let namespaces = &binding["spec"]["matchResources"][selector];
        assert_eq!(*namespaces, first["spec"]["matchResources"][selector], "they cover the same");
    }
    assert_eq!(first["spec"]["paramRef"]["parameterNotFoundAction"], "Allow");
    assert_eq!(pods_binding["spec"]["validationActions"], json!(["Deny"]));
    assert_eq!(workloads["spec"]["validationActions"], json!(["Warn"]));
    let rules = |of: &Value| of["resourceRules"].as_array().cloned().expect("rules");
    let mut bound = rules(&pods_binding["spec"]["matchResources"]);
    bound.extend(rules(&workloads["spec"]["matchResources"]));
    assert_eq!(bound, rules(&validating["spec"]["matchConstraints"]), "each rule has its binding");
}
