"""What the IAM User Guide says of its own examples, put to the judge of policies.

Each test names the page (docs.aws.amazon.com/IAM/latest/UserGuide/) that it is from.
"""

import unittest

from policies import ALLOWED, DENIED, EXPLICITLY_DENIED, judge, matches_arn, Context, trusts

BUCKET = "arn:aws:s3:::amzn-s3-demo-bucket"


def policy(*statements):
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def when(condition, context, action="iam:CreateUser", resource="*"):
    return judge(action, resource, context, [policy(allow(action, Condition=condition))])


class Documented(unittest.TestCase):
    def test_what_nothing_allows_is_denied(self):
        # reference_policies_evaluation-logic.html
        self.assertEqual(judge("s3:GetObject", BUCKET, {}, []), DENIED)

    def test_an_explicit_deny_overrides_any_allow(self):
        # reference_policies_evaluation-logic.html
        deny = {"Effect": "Deny", "Action": "s3:Delete*", "Resource": "*"}
        policies = [policy(allow("*")), policy(deny)]
        self.assertEqual(judge("s3:GetObject", BUCKET, {}, policies), ALLOWED)
        self.assertEqual(judge("s3:DeleteBucket", BUCKET, {}, policies), EXPLICITLY_DENIED)

    def test_a_boundary_limits_what_policies_allow_and_allows_nothing_itself(self):
        # access_policies_boundaries.html: the user Shirley Rodriguez
        boundary = policy(allow(["s3:*", "cloudwatch:*", "ec2:*"]))
        create_user = [policy(allow("iam:CreateUser"))]
        self.assertEqual(judge("iam:CreateUser", "*", {}, create_user, boundary), DENIED)
        self.assertEqual(judge("s3:ListBucket", BUCKET, {}, create_user, boundary), DENIED)
        self.assertEqual(judge("s3:ListBucket", BUCKET, {}, [policy(allow("s3:List*"))], boundary), ALLOWED)

    def test_actions_know_no_case_and_take_wildcards(self):
        # reference_policies_elements_action.html
        policies = [policy(allow(["iam:*AccessKey*", "S3:getObject"]))]
        self.assertEqual(judge("iam:UpdateAccessKey", "*", {}, policies), ALLOWED)
        self.assertEqual(judge("s3:GetObject", BUCKET, {}, policies), ALLOWED)
        self.assertEqual(judge("iam:DeleteUser", "*", {}, policies), DENIED)

    def test_not_action_allows_all_but_these(self):
        # reference_policies_elements_notaction.html: all but IAM
        policies = [policy({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"})]
        self.assertEqual(judge("ec2:RunInstances", "*", {}, policies), ALLOWED)
        self.assertEqual(judge("iam:CreateUser", "*", {}, policies), DENIED)

    def test_not_resource_denies_all_but_these(self):
        # reference_policies_elements_notresource.html: the bucket HRBucket
        hr = ["arn:aws:s3:::HRBucket/Payroll", "arn:aws:s3:::HRBucket/Payroll/*"]
        deny = {"Effect": "Deny", "Action": "s3:*", "NotResource": hr}
        policies = [policy(allow("s3:*"), deny)]
        self.assertEqual(judge("s3:GetObject", "arn:aws:s3:::HRBucket/Payroll/may", {}, policies), ALLOWED)
        self.assertEqual(judge("s3:GetObject", "arn:aws:s3:::HRBucket/other", {}, policies), EXPLICITLY_DENIED)

    def test_wildcards_stay_within_the_parts_of_an_arn(self):
        # reference_policies_elements_condition_operators.html: "Each of the six
        # colon-delimited components of the ARN is checked separately"
        anything = Context({})
        self.assertTrue(matches_arn("arn:aws:sns:*:123456789012:*", "arn:aws:sns:us-east-1:123456789012:a:b", anything))
        self.assertFalse(matches_arn("arn:aws:sns:*:b", "arn:aws:sns:us-east-1:123456789012:a:b", anything))
        self.assertFalse(matches_arn("arn:aws:s3:::a?", "arn:aws:s3:::abc", anything))

    def test_all_keys_must_match_and_any_of_their_values(self):
        # reference_policies_condition-logic-multiple-context-keys-or-values.html
        condition = {
            "StringEquals": {"aws:PrincipalTag/department": ["finance", "hr"], "aws:PrincipalTag/role": "audit"},
            "ArnLike": {"aws:PrincipalArn": "arn:aws:iam::123456789012:role/*"},
        }
        role = "arn:aws:iam::123456789012:role/a"
        context = {"aws:PrincipalTag/department": "hr", "aws:PrincipalTag/role": "audit", "aws:PrincipalArn": role}
        self.assertEqual(when(condition, context), ALLOWED)
        for key, other in [("aws:PrincipalTag/department", "it"), ("aws:PrincipalTag/role", "pm"), ("aws:PrincipalArn", role.replace("role", "user"))]:
            self.assertEqual(when(condition, {**context, key: other}), DENIED)

    def test_no_value_of_a_negated_operator_may_match(self):
        # reference_policies_condition-logic-multiple-context-keys-or-values.html: NOR
        condition = {"StringNotEquals": {"aws:PrincipalTag/department": ["finance", "hr"]}}
        self.assertEqual(when(condition, {"aws:PrincipalTag/department": "hr"}), DENIED)
        self.assertEqual(when(condition, {"aws:PrincipalTag/department": "it"}), ALLOWED)

    def test_a_missing_key_fails_an_operator_but_not_a_negated_one(self):
        # reference_policies_elements_condition_operators.html
        self.assertEqual(when({"StringEquals": {"aws:PrincipalTag/a": "b"}}, {}), DENIED)
        self.assertEqual(when({"StringNotEquals": {"aws:PrincipalTag/a": "b"}}, {}), ALLOWED)
        self.assertEqual(when({"ArnNotLike": {"aws:SourceArn": "arn:aws:sns:*:*:*"}}, {}), ALLOWED)

    def test_if_exists_ignores_a_missing_key_only(self):
        # reference_policies_elements_condition_operators.html: instance types of RunInstances
        condition = {"StringLikeIfExists": {"ec2:InstanceType": ["t1.*", "t2.*", "m3.*"]}}
        self.assertEqual(when(condition, {}, "ec2:RunInstances"), ALLOWED)
        self.assertEqual(when(condition, {"ec2:InstanceType": "t2.micro"}, "ec2:RunInstances"), ALLOWED)
        self.assertEqual(when(condition, {"ec2:InstanceType": "c5.large"}, "ec2:RunInstances"), DENIED)

    def test_null_asks_whether_there_is_a_key(self):
        # reference_policies_elements_condition_operators.html: aws:TokenIssueTime
        temporary = {"aws:TokenIssueTime": "2026-01-01T00:00:00Z"}
        for wanted, context, outcome in [("true", {}, ALLOWED), ("true", temporary, DENIED), ("false", {}, DENIED), ("false", temporary, ALLOWED)]:
            self.assertEqual(when({"Null": {"aws:TokenIssueTime": wanted}}, context), outcome)

    def test_set_operators_ask_for_all_or_any_values_of_a_key(self):
        # reference_policies_condition-single-vs-multi-valued-context-keys.html
        for operator, keys, outcome in [
            ("ForAllValues", ["environment", "cost-center"], ALLOWED),
            ("ForAllValues", ["environment", "other"], DENIED),
            # "also returns true if the context key is missing or resolves to a null value"
            ("ForAllValues", None, ALLOWED),
            ("ForAnyValue", ["environment", "other"], ALLOWED),
            ("ForAnyValue", ["other"], DENIED),
            ("ForAnyValue", None, DENIED),
        ]:
            condition = {f"{operator}:StringEquals": {"aws:TagKeys": ["environment", "cost-center"]}}
            context = {} if keys is None else {"aws:TagKeys": keys}
            self.assertEqual(when(condition, context, "ec2:CreateTags"), outcome, (operator, keys))

    def test_negated_set_operators_ask_for_all_or_any_values_that_match_nothing(self):
        # reference_policies_condition-single-vs-multi-valued-context-keys.html
        for operator, keys, outcome in [
            ("ForAllValues", ["other"], ALLOWED),
            ("ForAllValues", ["other", "environment"], DENIED),
            ("ForAllValues", None, ALLOWED),
            ("ForAnyValue", ["other", "environment"], ALLOWED),
            ("ForAnyValue", ["environment"], DENIED),
            ("ForAnyValue", None, DENIED),
        ]:
            condition = {f"{operator}:StringNotEquals": {"aws:TagKeys": "environment"}}
            context = {} if keys is None else {"aws:TagKeys": keys}
            self.assertEqual(when(condition, context, "ec2:DeleteTags"), outcome, (operator, keys))

    def test_variables_stand_for_values_of_the_request(self):
        # reference_policies_variables.html: a folder for each user
        policies = [policy(allow("s3:GetObject", BUCKET + "/${aws:username}/*"))]
        context = {"aws:username": "jane"}
        self.assertEqual(judge("s3:GetObject", BUCKET + "/jane/a", context, policies), ALLOWED)
        self.assertEqual(judge("s3:GetObject", BUCKET + "/john/a", context, policies), DENIED)
        # "If the context key is not present in the request, the statement does not match"
        self.assertEqual(judge("s3:GetObject", BUCKET + "/${aws:username}/a", {}, policies), DENIED)
        # What a value holds is no wildcard.
        self.assertEqual(judge("s3:GetObject", BUCKET + "/john/a", {"aws:username": "*"}, policies), DENIED)

    def test_variables_have_defaults_and_literal_wildcards(self):
        # reference_policies_variables.html
        team = [policy(allow("s3:ListBucket", BUCKET + "-${aws:PrincipalTag/team, 'company-wide'}"))]
        self.assertEqual(judge("s3:ListBucket", BUCKET + "-company-wide", {}, team), ALLOWED)
        self.assertEqual(judge("s3:ListBucket", BUCKET + "-yellow", {"aws:PrincipalTag/team": "yellow"}, team), ALLOWED)
        star = [policy(allow("s3:GetObject", BUCKET + "/${*}"))]
        self.assertEqual(judge("s3:GetObject", BUCKET + "/*", {}, star), ALLOWED)
        self.assertEqual(judge("s3:GetObject", BUCKET + "/a", {}, star), DENIED)

    def test_condition_keys_know_no_case_but_values_do(self):
        # reference_policies_elements_condition.html
        condition = {"StringEquals": {"AWS:PrincipalTag/Team": "Yellow"}}
        self.assertEqual(when(condition, {"aws:principaltag/team": "Yellow"}), ALLOWED)
        self.assertEqual(when(condition, {"aws:principaltag/team": "yellow"}), DENIED)

    def test_dates_numbers_addresses_and_booleans_are_compared_as_such(self):
        # reference_policies_elements_condition_operators.html
        for condition, context, outcome in [
            ({"DateGreaterThan": {"aws:CurrentTime": "2020-04-01T00:00:00Z"}}, {"aws:CurrentTime": "2026-01-01T00:00:00Z"}, ALLOWED),
            ({"DateLessThan": {"aws:CurrentTime": "2020-06-30T23:59:59Z"}}, {"aws:CurrentTime": "2026-01-01T00:00:00Z"}, DENIED),
            ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, {"s3:max-keys": "9"}, ALLOWED),
            ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, {"s3:max-keys": "11"}, DENIED),
            ({"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, {"aws:SourceIp": "203.0.113.7"}, ALLOWED),
            ({"NotIpAddress": {"aws:SourceIp": ["192.0.2.0/24", "203.0.113.0/24"]}}, {"aws:SourceIp": "203.0.113.7"}, DENIED),
            ({"Bool": {"aws:SecureTransport": "true"}}, {"aws:SecureTransport": "true"}, ALLOWED),
            ({"Bool": {"aws:SecureTransport": "true"}}, {}, DENIED),
        ]:
            self.assertEqual(when(condition, context), outcome, condition)

    def test_an_operator_that_is_unknown_is_no_rule(self):
        with self.assertRaises(KeyError):
            when({"StringMatches": {"aws:username": "a"}}, {"aws:username": "a"})

    def test_a_role_is_assumed_by_the_tokens_that_its_trust_policy_describes(self):
        # id_roles_create_for-idp_oidc.html: GitHub
        provider = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
        condition = {
            "StringEquals": {"token.actions.githubusercontent.com:aud": "sts.amazonaws.com"},
            "StringLike": {"token.actions.githubusercontent.com:sub": "repo:GitHubOrg/GitHubRepo:ref:refs/heads/GitHubBranch"},
        }
        document = policy({"Effect": "Allow", "Principal": {"Federated": provider}, "Action": "sts:AssumeRoleWithWebIdentity", "Condition": condition})
        token = {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": "repo:GitHubOrg/GitHubRepo:ref:refs/heads/GitHubBranch",
        }
        self.assertTrue(trusts(document, provider, token))
        self.assertFalse(trusts(document, provider.replace("token", "other"), token))
        self.assertFalse(trusts(document, provider, {**token, "token.actions.githubusercontent.com:sub": "repo:GitHubOrg/Other:ref:refs/heads/GitHubBranch"}))


if __name__ == "__main__":
    unittest.main()
