//! What the running agent says of itself: its own findings come with its own cures.

use serde_json::Value;

use super::{Health, Machine, Symptom, fine, note};

pub fn check(machine: &Machine) -> Vec<Symptom> {
    match &machine.agent {
        Ok(status) => judge(status, env!("CARGO_PKG_VERSION")),
        Err(error) => vec![note(error.clone(), "systemctl start hobnail; as root, hobnail doctor sees more")],
    }
}

fn judge(status: &Value, installed: &str) -> Vec<Symptom> {
    let findings = status["health"].as_array().into_iter().flatten();
    let mut symptoms: Vec<Symptom> = findings.map(symptom).collect();
    if let Some(runs) = status["version"].as_str().filter(|runs| *runs != installed) {
        let text = format!("the agent that runs is {runs}, and {installed} is installed");
        symptoms.push(note(text, "systemctl restart hobnail"));
    }
    if symptoms.is_empty() {
        symptoms.push(fine("it answers, and finds nothing wrong"));
    }
    symptoms
}

/// A grade that this version does not know is at least worth a note.
fn symptom(finding: &Value) -> Symptom {
    let word = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let health = if word("grade") == "problem" { Health::Sick } else { Health::Note };
    Symptom { health, text: word("text"), cure: Some(word("cure")) }
}

#[cfg(test)]
mod tests {
    use hobnail_core::health::{Code, Finding, Grade};

    use super::*;

    #[test]
    fn the_agents_findings_keep_their_text_their_cure_and_their_weight() {
        let codes = Code::ALL.iter().map(|code| Finding::new(*code, "it hurts".into()));
        let findings: Vec<Finding> = codes.collect();
        let status = serde_json::json!({ "version": "1", "health": findings });
        let symptoms = judge(&status, "1");
        assert_eq!(symptoms.len(), findings.len());
        for (symptom, finding) in symptoms.iter().zip(&findings) {
            assert_eq!((symptom.text.as_str(), symptom.cure.as_deref()), ("it hurts", Some(finding.cure)));
            assert_eq!(symptom.health == Health::Sick, finding.grade == Grade::Problem);
        }
        assert_eq!(judge(&serde_json::json!({ "version": "1", "health": [] }), "1")[0].health, Health::Fine);
        assert_eq!(judge(&serde_json::json!({ "version": "1", "health": [] }), "2")[0].health, Health::Note);
    }
}
