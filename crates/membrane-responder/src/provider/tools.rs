//! Tools, as providers are told of them.

use genai::chat::Tool;
use membrane_core::tool::ToolSpec;
use serde_json::{Value, json};

use super::kind::ProviderKind;

/// What genai takes for tools of the provider's own, whoever meant others by these names.
const TAKEN: [&str; 5] =
    ["web_search", "googleSearch", "googleSearchRetrieval", "codeExecution", "urlContext"];

/// The tools, and what of the request's body they replace.
#[derive(Debug, Default)]
pub(super) struct Tools {
    pub(super) tools: Option<Vec<Tool>>,
    pub(super) body: Option<Value>,
}

impl Tools {
    pub(super) fn of(kind: ProviderKind, specs: &[ToolSpec]) -> Self {
        if specs.is_empty() {
            return Self::default();
        }
        if !specs.iter().any(|spec| TAKEN.contains(&spec.name.as_str())) {
            return Self { tools: Some(specs.iter().map(tool).collect()), body: None };
        }
        match kind {
            ProviderKind::Anthropic => {
                let tools = specs.iter().map(|spec| {
                    json!({"name": spec.name, "description": description(spec), "input_schema": schema(spec)})
                });
                Self { tools: None, body: Some(json!({"tools": tools.collect::<Value>()})) }
            }
            ProviderKind::Gemini => {
                let tools = specs.iter().map(|spec| {
                    let schema = schema(spec);
                    json!({"name": spec.name, "description": description(spec), "parametersJsonSchema": schema})
                });
                let declarations = json!([{"functionDeclarations": tools.collect::<Value>()}]);
                Self { tools: None, body: Some(json!({"tools": declarations})) }
            }
            ProviderKind::OpenAi | ProviderKind::Ollama => {
                Self { tools: Some(specs.iter().map(tool).collect()), body: None }
            }
        }
    }
}

fn tool(spec: &ToolSpec) -> Tool {
    Tool::new(spec.name.as_str()).with_description(description(spec)).with_schema(schema(spec))
}

/// Some APIs refuse a tool without one, and a null.
fn description(spec: &ToolSpec) -> &str {
    spec.description.as_deref().filter(|text| !text.is_empty()).unwrap_or(&spec.name)
}

fn schema(spec: &ToolSpec) -> Value {
    let schema = spec.parameters.as_ref().and_then(|schema| serde_json::from_str(schema.as_str()).ok());
    schema.filter(Value::is_object).unwrap_or_else(|| json!({"type": "object", "properties": {}}))
}

#[test]
fn a_tool_of_ours_is_not_taken_for_one_of_the_providers_own() {
    use membrane_core::tool::ToolEffect;
    let spec = ToolSpec {
        name: "web_search".to_owned(),
        description: None,
        parameters: None,
        effect: ToolEffect::Read,
    };
    let schema = json!({"type": "object", "properties": {}});
    let tools = Tools::of(ProviderKind::Anthropic, std::slice::from_ref(&spec));
    let expected = json!([{"name": "web_search", "description": "web_search", "input_schema": schema}]);
    assert_eq!(tools.body.unwrap()["tools"], expected);
    assert!(tools.tools.is_none());
    assert!(Tools::of(ProviderKind::OpenAi, &[spec]).body.is_none());
}
