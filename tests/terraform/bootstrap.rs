//! What a pipeline may do, held against what it is to make.

use std::fs;

use crate::diagrams::{resources, texts};

/// What IAM calls the services of resources that have another name; the rest are EC2's.
const SERVICES: [(&str, &str); 19] = [
    ("aws_acm_", "acm"),
    ("aws_autoscaling_", "autoscaling"),
    ("aws_backup_", "backup"),
    ("aws_cloudwatch_event_", "events"),
    ("aws_cloudwatch_log_", "logs"),
    ("aws_cloudwatch_", "cloudwatch"),
    ("aws_cognito_", "cognito-idp"),
    ("aws_db_", "rds"),
    ("aws_efs_", "elasticfilesystem"),
    ("aws_iam_", "iam"),
    ("aws_kms_", "kms"),
    ("aws_lb", "elasticloadbalancing"),
    ("aws_rds_", "rds"),
    ("aws_route53_", "route53"),
    ("aws_s3_", "s3"),
    ("aws_secretsmanager_", "secretsmanager"),
    ("aws_sns_", "sns"),
    ("aws_ssm_", "ssm"),
    ("aws_wafv2_", "wafv2"),
];

#[test]
fn a_pipeline_may_read_and_change_what_stacks_are_made_of() {
    let change = ["apply.tf", "database.tf", "network.tf", "service.tf"];
    for (files, verb) in [(&["plan.tf"][..], "read"), (&change[..], "change")] {
        let read = |file| fs::read_to_string(format!("terraform/bootstrap/{file}")).unwrap();
        let policy: String = files.iter().map(read).collect();
        for folder in ["", "sqlite", "postgres"] {
            for resource in resources(folder) {
                let known = SERVICES.iter().find(|(kind, _)| resource.starts_with(kind));
                let service = known.map_or("ec2", |(_, service)| service);
                assert!(
                    policy.contains(&format!("\"{service}:")),
                    "bootstrap/ lets no role {verb} {resource}"
                );
            }
        }
    }
}

#[test]
fn no_role_of_a_stack_is_without_its_boundary() {
    for folder in ["", "sqlite", "postgres"] {
        for text in texts(folder) {
            let blocks = text.split("\nresource ");
            for role in blocks.filter(|block| block.starts_with("\"aws_iam_role\"")) {
                let name = role.lines().next().unwrap();
                assert!(
                    role.contains("permissions_boundary"),
                    "{name} of {folder} could do anything"
                );
            }
        }
    }
}
