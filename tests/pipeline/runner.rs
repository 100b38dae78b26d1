//! The runner itself: it behaves as GitHub does, and refuses what it does not know.

use serde_json::{Value, json};

use crate::github::{GitHub, Runs};

/// A repository with this workflow, as main.yml, that a push starts.
fn repository(jobs: &str, settings: Value) -> GitHub {
    let workflow =
        format!("on: {{push: {{}}, pull_request: {{}}}}\npermissions: {{}}\njobs:\n{jobs}");
    let mut settings = settings;
    settings["files"] = json!({ ".github/workflows/main.yml": workflow });
    GitHub::start(settings)
}

/// What becomes of a workflow.
#[track_caller]
fn walked(jobs: &str) -> Runs {
    let mut github = repository(jobs, json!({}));
    github.start_run("main.yml", "push");
    github.settle()
}

/// What is wrong with a workflow.
#[track_caller]
fn refused(jobs: &str) -> String {
    let mut github = repository(jobs, json!({}));
    let start = json!({ "do": "start", "workflow": "main.yml", "event": "push" });
    let started = github.try_ask(start);
    started.and_then(|_| github.try_ask(json!({ "do": "settle" }))).expect_err("it is refused")
}

#[test]
fn outputs_environment_and_paths_reach_the_steps_and_jobs_that_follow() {
    let runs = walked(
        r#"
  one:
    env: {JOB: job}
    outputs: {said: "${{ steps.say.outputs.what }}"}
    steps:
      - id: say
        env: {STEP: step}
        run: |
          printf 'what<<end\n%s\n%s\nend\n' "$JOB" "$STEP" >>"$GITHUB_OUTPUT"
          echo "LATER=${{ github.sha }}" >>"$GITHUB_ENV"
          mkdir bin; printf '#!/bin/sh\necho found' >bin/tool; chmod +x bin/tool
          echo "$PWD/bin" >>"$GITHUB_PATH"
          echo "**summary**" >>"$GITHUB_STEP_SUMMARY"
      - run: '[ "$LATER" = "$GITHUB_SHA" ] && [ "$(tool)" = found ] && [ -z "${STEP:-}" ]'
      - run: '[ "${{ env.JOB }}" = job ] && [ -z "${GITHUB_TOKEN:-}" ]'
  two:
    needs: one
    steps:
      - run: '[ "$SAID" = "$(printf "job\nstep")" ] && [ ! -e bin ]'
        env: {SAID: "${{ needs.one.outputs.said }}"}
"#,
    );
    runs.expect(1, &[("one", "success"), ("two", "success")]);
    assert_eq!(runs.jobs(1, "one")[0]["summary"], "**summary**\n");
    assert!(runs.is_over(1));
}

#[test]
fn conditions_want_success_unless_they_ask_for_a_status() {
    let runs = walked(
        r#"
  fails:
    steps:
      - id: bad
        run: exit 3
      - run: echo never
      - if: ${{ always() }}
        run: '[ "${{ steps.bad.outcome }} ${{ job.status }}" = "failure failure" ]'
      - if: failure() && steps.bad.outputs.x == ''
        run: echo seen
  goes_on:
    steps:
      - {id: bad, run: exit 1, continue-on-error: true}
      - run: '[ "${{ steps.bad.outcome }} ${{ steps.bad.conclusion }}" = "failure success" ]'
  skipped: {needs: fails, steps: [{run: exit 1}]}
  after_skipped: {needs: skipped, steps: [{run: exit 1}]}
  told: {needs: [skipped, goes_on], if: "${{ failure() }}", steps: [{run: echo}]}
  told_near: {needs: goes_on, if: "${{ failure() }}", steps: [{run: echo}]}
  anyway:
    needs: [fails, skipped]
    if: ${{ !cancelled() && needs.skipped.result == 'skipped' }}
    steps: [{run: echo}]
"#,
    );
    runs.expect(
        1,
        &[
            ("fails", "failure"),
            ("goes_on", "success"),
            ("skipped", "skipped"),
            ("after_skipped", "skipped"),
            ("told", "success"),
            ("told_near", "skipped"),
            ("anyway", "success"),
        ],
    );
    let outcomes = runs.jobs(1, "fails")[0]["steps"].as_array().unwrap().iter();
    let outcomes: Vec<_> = outcomes.map(|step| step["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["failure", "skipped", "success", "success"]);
}

#[test]
fn jobs_of_a_matrix_give_their_outputs_together() {
    let runs = walked(
        r#"
  each:
    strategy: {matrix: {include: [{name: a, machine: x}, {name: b, machine: y}]}}
    outputs: {a: "${{ steps.say.outputs.a }}", b: "${{ steps.say.outputs.b }}"}
    steps: [{id: say, run: 'echo "${{ matrix.name }}=${{ matrix.machine }}" >>"$GITHUB_OUTPUT"'}]
  all:
    needs: each
    steps: [{run: '[ "${{ needs.each.outputs.a }}${{ needs.each.outputs[''b''] }}" = xy ]'}]
"#,
    );
    runs.expect(1, &[("each", "success"), ("all", "success")]);
    assert_eq!(runs.jobs(1, "each").len(), 2);
}

/// Three steps, so that jobs of two runs are under way at the same time.
const IN_A_GROUP: &str = r#"
  job:
    concurrency: GROUP
    steps: [{run: echo}, {run: echo}, {run: echo}]
"#;

#[test]
fn one_job_of_a_group_runs_at_a_time_and_of_those_that_wait_the_newest_is_kept() {
    for (group, states) in [
        ("production", ["success", "cancelled", "success"]),
        ("{group: Production, queue: max}", ["success", "success", "success"]),
    ] {
        let mut github = repository(&IN_A_GROUP.replace("GROUP", group), json!({}));
        let started = [0; 3].map(|_| github.start_run("main.yml", "push"));
        let runs = github.settle();
        for (run, state) in started.into_iter().zip(states) {
            runs.expect(run, &[("job", state)]);
        }
        assert_eq!(github.seen("most")["production"], 1, "{group}");
    }
}

#[test]
fn a_job_that_waits_for_a_reviewer_holds_its_group() {
    let jobs = r#"
  job:
    environment: production
    concurrency: {group: production, queue: max}
    steps: [{run: echo}]
"#;
    let environments = json!({ "production": { "reviewers": ["owners"] } });
    let mut github = repository(jobs, json!({ "environments": environments }));
    let runs = [0; 3].map(|_| github.start_run("main.yml", "push"));
    let review = |github: &mut GitHub, what: &str, run: usize| {
        github.try_ask(json!({ "do": what, "run": run, "environment": "production" }))
    };
    let settled = github.settle();
    settled.expect(runs[0], &[("job", "approval")]);
    settled.expect(runs[1], &[("job", "pending")]);
    assert!(review(&mut github, "approve", runs[1]).is_err(), "nobody is asked for it yet");
    review(&mut github, "reject", runs[0]).unwrap();
    let settled = github.settle();
    settled.expect(runs[0], &[("job", "failure")]);
    settled.expect(runs[1], &[("job", "approval")]);
    review(&mut github, "approve", runs[1]).unwrap();
    github.settle().expect(runs[1], &[("job", "success")]);
}

#[test]
fn a_forks_jobs_get_no_secret_and_a_token_that_only_reads() {
    let jobs = r#"
  job:
    permissions: {id-token: write, pull-requests: write}
    steps:
      - run: '[ "$SECRET" = "$EXPECTED" ]'
        env: {SECRET: "${{ secrets.HOOK }}", EXPECTED: "${{ vars.EXPECTED }}"}
      - run: >-
          curl --fail --silent --data '{"body": "x"}' --header "Authorization: Bearer $TOKEN"
          "$GITHUB_API_URL/repos/$GITHUB_REPOSITORY/issues/7/comments"
        env: {TOKEN: "${{ github.token }}"}
      - uses: aws-actions/configure-aws-credentials@517a711dbcd0e402f90c77e7e2f81e849156e31d
        with: {role-to-assume: a, aws-region: b}
"#;
    let settings = |expected: &str| json!({ "secrets": { "HOOK": "hunter2" }, "vars": { "EXPECTED": expected } });
    let mut github = repository(jobs, settings("hunter2"));
    let pull =
        |fork: bool| json!({ "workflow": "main.yml", "event": "pull_request", "fork": fork });
    github.start_with(pull(false));
    let steps = |runs: &Runs, run| -> Vec<String> {
        let steps = runs.jobs(run, "job")[0]["steps"].as_array().unwrap().iter();
        steps.map(|step| step["outcome"].as_str().unwrap().to_owned()).collect()
    };
    // There is no such role; but it may ask.
    let runs = github.settle();
    assert_eq!(steps(&runs, 1), ["success", "success", "failure"], "{}", runs.logs(1));
    assert!(runs.logs(1).contains("does not exist"));

    let mut github = repository(jobs, settings(""));
    github.start_with(pull(true));
    let runs = github.settle();
    assert_eq!(steps(&runs, 1), ["success", "failure", "skipped"], "{}", runs.logs(1));
    let only_aws = jobs.split("      - run: >-").next().unwrap().to_owned()
        + &jobs[jobs.find("      - uses").unwrap()..];
    let mut github = repository(&only_aws, settings(""));
    github.start_with(pull(true));
    let runs = github.settle();
    assert!(runs.logs(1).contains("no permission id-token: write"), "{}", runs.logs(1));
}

#[test]
fn secrets_are_masked_and_leave_no_job() {
    let jobs = r#"
  job:
    outputs: {leak: "x${{ steps.say.outputs.leak }}", fine: "${{ steps.say.outputs.fine }}"}
    steps:
      - id: say
        run: |
          echo "it is $HOOK"
          echo "leak=$HOOK" >>"$GITHUB_OUTPUT"
          echo "fine=yes" >>"$GITHUB_OUTPUT"
        env: {HOOK: "${{ secrets.HOOK }}"}
"#;
    let mut github = repository(jobs, json!({ "secrets": { "HOOK": "hunter2" } }));
    github.start_run("main.yml", "push");
    let runs = github.settle();
    let job = runs.jobs(1, "job")[0];
    assert_eq!(job["log"], "it is ***\n");
    assert_eq!(job["outputs"], json!({ "fine": "yes" }));
}

#[test]
fn what_is_not_played_is_refused_with_its_place() {
    let refusals = [
        (
            "  job: {steps: [{uses: 'actions/cache@0123456789012345678901234567890123456789'}]}",
            "nothing stands for the action actions/cache",
        ),
        ("  job: {steps: [{uses: actions/checkout@v7}]}", "not pinned"),
        ("  job: {steps: [{run: echo, shell: pwsh}]}", "shell pwsh"),
        ("  job: {services: {}, steps: [{run: echo}]}", "main.yml: job job: services"),
        (
            "  job: {steps: [{run: echo}, {run: echo, timeout: 1}]}",
            "main.yml: job job: step 2: timeout",
        ),
        ("  job: {needs: other, steps: [{run: echo}]}", "needs other, which is no job"),
        (
            "  job: {steps: [{run: 'echo ${{ secret.X }}'}]}",
            "main.yml: job job: step 1 (echo ${{ secret.X }}): 'secret.X': there is no secret here",
        ),
        ("  job: {if: \"${{ secrets.X }}\", steps: [{run: echo}]}", "there is no secrets here"),
        ("  job: {strategy: {matrix: {exclude: []}}, steps: [{run: echo}]}", "matrix.exclude"),
    ];
    for (jobs, expected) in refusals {
        let error = refused(jobs);
        assert!(error.contains(expected), "{jobs}: {error}");
    }
}
