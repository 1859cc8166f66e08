//! What an API server does with the policies, by an interpreter of CEL: match conditions, variables in order, mutations,
//! validations. Stricter than the server in this: every variable is evaluated, asked for or not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use cel::common::types::{CelInt, CelList, CelStruct, LIST_TYPE, STRING_TYPE, Type};
use cel::common::value::{CowVal, Val};
use cel::objects::{Key, Map};
use cel::{Context, Env, ExecutionError, Program, StructType, Value, extensions};
use serde_json::{Value as Json, json};

/// The constructors that the API server offers: `JSONPatch`, and `Object` with any path of fields behind it.
struct Constructor(Type);

impl StructType for Constructor {
    fn get_type(&self) -> &Type {
        &self.0
    }

    fn new_value<'b, 'v>(
        &self,
        fields: BTreeMap<String, CowVal<'b, 'v>>,
    ) -> Result<Box<dyn Val + 'v>, ExecutionError> {
        let mut made = CelStruct::new(self.0.name().to_owned());
        for (name, value) in fields {
            made.add_field_value(name, value);
        }
        Ok(Box::new(made))
    }
}

/// `list.indexOf(string)` of Kubernetes' list library.
fn index_of<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let list = args[0].downcast_ref::<CelList<'_>>().expect("a list");
    let wanted = Value::try_from(&*args[1])?;
    let found = list
        .inner()
        .iter()
        .position(|item| Value::try_from(item.as_ref()).is_ok_and(|item| item == wanted));
    let index = found.map_or(-1, |index| i64::try_from(index).expect("a short list"));
    Ok(CowVal::owned(CelInt::from(index)))
}

/// The names that stand before the `{` of a constructor.
fn constructors(expression: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let before = expression.match_indices('{').map(|(at, _)| &expression[..at]);
    before
        .map(|before| &before[before.trim_end_matches(is_name).len()..])
        .filter(|name| *name == "JSONPatch" || *name == "Object" || name.starts_with("Object."))
        .collect()
}

fn environment(expression: &str) -> Env {
    let mut env = Env::stdlib();
    env.add_extension(extensions::strings).expect("nothing else is there");
    env.add_member_overload("indexOf", "list_index_of", LIST_TYPE, vec![STRING_TYPE], index_of)
        .expect("a name of its own");
    for name in constructors(expression) {
        env.add_type(Constructor(Type::new_struct(name.to_owned()))).expect("a name");
    }
    env
}

/// An expression and what it was compiled in.
type Compiled = (Arc<Env>, Arc<Program>);

/// An expression with its environment, compiled once for all tests.
fn compiled(expression: &str) -> Compiled {
    static KNOWN: Mutex<BTreeMap<String, Compiled>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = known.get(expression) {
        return found.clone();
    }
    let env = environment(expression);
    let program = env.compile(expression).unwrap_or_else(|e| panic!("{expression}: {e:?}"));
    let made = (Arc::new(env), Arc::new(program));
    known.insert(expression.to_owned(), made.clone());
    made
}

/// JSON as CEL sees it: integers are ints.
fn cel(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(value) => Value::Int(value.as_i64().expect("manifests hold integers")),
        Json::String(value) => Value::from(value.as_str()),
        Json::Array(items) => Value::List(Arc::new(items.iter().map(cel).collect())),
        Json::Object(entries) => {
            let pair = |(key, value): (&String, &Json)| (Key::from(key.as_str()), cel(value));
            let entries: HashMap<Key, Value> = entries.iter().map(pair).collect();
            Value::Map(Map { map: Arc::new(entries) })
        }
    }
}

/// A value as JSON. An `Object` inside another must be named by its path, as the API server checks; a list of them is a
/// value for a field, not for an operation: some servers can't take it (kubernetes#142181).
fn json(value: &Value, path: Option<&str>) -> Json {
    match value {
        Value::Struct(made) => {
            assert!(path.is_none_or(|path| path == made.name()), "{} in {path:?}", made.name());
            let field = |(name, value): (&String, &Arc<dyn Val>)| {
                let value = Value::try_from(value.as_ref()).expect("a value");
                (name.clone(), json(&value, Some(&format!("{}.{name}", made.name()))))
            };
            Json::Object(made.field_values().iter().map(field).collect())
        }
        Value::List(items) => items.iter().map(|item| json(item, path)).collect(),
        Value::Map(map) => {
            let entry = |(key, value): (&Key, &Value)| {
                let Key::String(key) = key else { panic!("a key that is no string: {key:?}") };
                ((**key).clone(), json(value, None))
            };
            Json::Object(map.map.iter().map(entry).collect())
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::String(_) => {
            value.json().expect("a scalar")
        }
        Value::Function(..)
        | Value::UInt(_)
        | Value::Float(_)
        | Value::Bytes(_)
        | Value::Opaque(_) => {
            panic!("no value of a manifest: {value:?}")
        }
    }
}

/// One request, and what the expressions of a policy see of it.
pub struct Request {
    seen: Vec<(&'static str, Value)>,
    variables: HashMap<Key, Value>,
}

impl Request {
    /// The creation of an object, under a policy with parameters or none.
    pub fn new(object: &Json, params: &Json) -> Self {
        Self {
            seen: vec![("object", cel(object)), ("params", cel(params))],
            variables: HashMap::new(),
        }
    }

    /// The value of an expression.
    pub fn value(&self, expression: &str) -> Result<Value, ExecutionError> {
        let (env, program) = compiled(expression);
        let mut context = Context::with_env(env);
        for (name, value) in &self.seen {
            context.add_variable_from_value(*name, value.clone());
        }
        let variables = Value::Map(Map { map: Arc::new(self.variables.clone()) });
        context.add_variable_from_value("variables", variables);
        program.execute(&context)
    }

    fn must(&self, expression: &str) -> Value {
        self.value(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Whether the policy's conditions hold: one that is false decides, whatever others end in.
    fn matches(&self, policy: &Json) -> bool {
        let conditions = policy["spec"]["matchConditions"].as_array().expect("conditions");
        let results: Vec<_> = conditions
            .iter()
            .map(|condition| self.value(condition["expression"].as_str().expect("CEL")))
            .collect();
        if results.contains(&Ok(Value::Bool(false))) {
            return false;
        }
        results.iter().for_each(|result| assert_eq!(*result, Ok(Value::Bool(true))));
        true
    }

    fn define(&mut self, policy: &Json) {
        for variable in policy["spec"]["variables"].as_array().expect("variables") {
            let value = self.must(variable["expression"].as_str().expect("CEL"));
            self.variables.insert(Key::from(variable["name"].as_str().expect("a name")), value);
        }
    }
}

/// The pod that the mutating policy makes of a pod.
pub fn mutated(policy: &Json, params: &Json, pod: &Json) -> Json {
    let mut request = Request::new(pod, params);
    let mut pod = pod.clone();
    if !request.matches(policy) {
        return pod;
    }
    request.define(policy);
    for mutation in policy["spec"]["mutations"].as_array().expect("mutations") {
        let expression = mutation["jsonPatch"]["expression"].as_str().expect("CEL");
        let Value::List(operations) = request.must(expression) else { panic!("no list") };
        let operations: Vec<Json> = operations.iter().map(operation).collect();
        let patch: json_patch::Patch = serde_json::from_value(json!(operations)).expect("a patch");
        json_patch::patch(&mut pod, &patch).unwrap_or_else(|error| panic!("{error}: {patch}"));
    }
    pod
}

/// An operation of a JSON patch, whose value is one thing or an empty list.
fn operation(made: &Value) -> Json {
    let Value::Struct(made) = made else { panic!("no JSONPatch: {made:?}") };
    assert_eq!(made.name(), "JSONPatch");
    let field = |(name, value): (&String, &Arc<dyn Val>)| {
        let value = json(&Value::try_from(value.as_ref()).expect("a value"), None);
        assert!(value.as_array().is_none_or(Vec::is_empty), "an operation adds one thing: {value}");
        (name.clone(), value)
    };
    Json::Object(made.field_values().iter().map(field).collect())
}

/// What the validating policy says of an object: one message for each validation that fails.
pub fn refusals(policy: &Json, object: &Json) -> Vec<String> {
    let mut request = Request::new(object, &Json::Null);
    if !request.matches(policy) {
        return Vec::new();
    }
    request.define(policy);
    let mut messages = Vec::new();
    for validation in policy["spec"]["validations"].as_array().expect("validations") {
        if request.must(validation["expression"].as_str().expect("CEL")) == Value::Bool(true) {
            continue;
        }
        messages.push(match validation["messageExpression"].as_str() {
            Some(expression) => {
                let Value::String(message) = request.must(expression) else { panic!("no string") };
                message.to_string()
            }
            None => validation["message"].as_str().expect("a message").to_owned(),
        });
    }
    messages
}
