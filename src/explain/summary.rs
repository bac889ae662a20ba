use super::{Explanation, Limit, LimitsInForce, TermsExplained};

impl Explanation {
    /// Returns the explanation as pairs of a label and a text. The verdict is last.
    #[must_use]
    pub fn label_text_pairs(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        let path = self.path.as_deref();
        let path = path.unwrap_or("(ambiguous)");
        lines.push(("path", path.to_owned()));
        if let Some(terms) = &self.terms {
            push_terms(terms, &mut lines);
        }
        let verdict = match &self.match_error {
            Some(reason) => format!("{}: {reason}", self.verdict),
            None => self.verdict.to_owned(),
        };
        lines.push(("verdict", verdict));
        lines
    }
}

fn push_terms(terms: &TermsExplained, lines: &mut Vec<(&'static str, String)>) {
    let rule = match (&terms.rule, &terms.rule_matches) {
        (Some(rule), Some(matches)) => format!("{rule} ({matches})"),
        _ => "none".to_owned(),
    };
    lines.push(("rule", rule));
    lines.push(("access", terms.access.to_owned()));
    if terms.access == "public" {
        return;
    }
    if !terms.required_groups.is_empty() {
        lines.push((
            "groups",
            format!("one of {}", terms.required_groups.join(", ")),
        ));
    }
    for groups in &terms.route_groups {
        let names = groups.groups.join(", ");
        lines.push(("groups", format!("one of {names} ({})", groups.from)));
    }
    let mut policies = format!("{} (home policy)", terms.home_policy);
    for requested in &terms.requested_policies {
        policies += &format!(", {} (by the {})", requested.name, requested.by);
    }
    lines.push(("policies", policies));
    let activity = match terms.passive_reason {
        Some(reason) => format!("{}: {reason}", terms.activity),
        None => terms.activity.to_owned(),
    };
    lines.push(("activity", activity));
    lines.push(("ends", limits_text(&terms.session_limits)));
    if terms.request_limits != terms.session_limits || terms.request_limits.max_auth_age.is_some() {
        lines.push(("needs", limits_text(&terms.request_limits)));
    }
}

fn limits_text(limits: &LimitsInForce) -> String {
    let format_limit = |limit: &Limit| humantime::format_duration(limit.duration());
    let mut parts = Vec::new();
    if let Some(idle) = &limits.idle {
        parts.push(format!(
            "{} without activity ({})",
            format_limit(idle),
            idle.from
        ));
    }
    if let Some(absolute) = &limits.absolute {
        parts.push(format!(
            "{} after sign-in ({})",
            format_limit(absolute),
            absolute.from
        ));
    }
    if let Some(age) = &limits.max_auth_age {
        parts.push(format!(
            "sign-in within the last {} ({})",
            format_limit(age),
            age.from
        ));
    }
    parts.join(", ")
}
