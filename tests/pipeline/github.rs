//! A GitHub of the test's own, see github/.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Where the pipeline's parts are that the tests need.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pipeline");

/// It ends with the test, however that ends.
pub struct GitHub {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    _folder: TempDir,
}

impl GitHub {
    /// A repository with this project as it is here and, in place of some of it, the `files`
    /// of these settings.
    pub fn of_project(mut settings: Value) -> GitHub {
        settings["source"] = json!(env!("CARGO_MANIFEST_DIR"));
        GitHub::start(settings)
    }

    /// A repository with the `files` of these settings.
    pub fn start(mut settings: Value) -> GitHub {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        settings["path"] = json!(format!("{FOLDER}/stand-ins:{}", std::env::var("PATH").unwrap()));
        let mut process = Command::new("python3")
            .arg(format!("{FOLDER}/github"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("TMPDIR", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is there");
        let to = process.stdin.take().unwrap();
        let from = BufReader::new(process.stdout.take().unwrap());
        let mut github = GitHub { process, to, from, _folder: folder };
        github.ask(settings);
        github
    }

    /// Says something and expects that it is understood.
    #[track_caller]
    pub fn ask(&mut self, command: Value) -> Value {
        self.try_ask(command).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The answer, or what is wrong with a workflow or a question.
    pub fn try_ask(&mut self, command: Value) -> Result<Value, String> {
        writeln!(self.to, "{command}").unwrap();
        let mut answer = String::new();
        self.from.read_line(&mut answer).unwrap();
        let mut answer: Value = serde_json::from_str(&answer).expect("it has not ended");
        match answer["error"].take() {
            Value::String(error) => Err(error),
            _ => Ok(answer["ok"].take()),
        }
    }

    /// Starts a workflow for the newest commit.
    #[track_caller]
    pub fn start_run(&mut self, workflow: &str, event: &str) -> usize {
        self.start_with(json!({ "workflow": workflow, "event": event }))
    }

    #[track_caller]
    pub fn start_with(&mut self, mut command: Value) -> usize {
        command["do"] = json!("start");
        self.ask(command).as_u64().unwrap() as usize
    }

    /// Lets all runs go on as far as they can by themselves, and gives them.
    #[track_caller]
    pub fn settle(&mut self) -> Runs {
        Runs(self.ask(json!({ "do": "settle" })))
    }

    /// What has happened, such as `messages`.
    #[track_caller]
    pub fn seen(&mut self, what: &str) -> Value {
        self.ask(json!({ "do": what }))
    }
}

impl Drop for GitHub {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What all runs have come to.
pub struct Runs(Value);

impl Runs {
    pub fn of(&self, run: usize) -> &Value {
        &self.0[run - 1]
    }

    pub fn is_over(&self, run: usize) -> bool {
        self.of(run)["over"].as_bool().unwrap()
    }

    /// The jobs of that name: more than one of a matrix.
    pub fn jobs(&self, run: usize, name: &str) -> Vec<&Value> {
        let jobs = self.of(run)["jobs"].as_array().unwrap().iter();
        jobs.filter(|job| job["name"] == name).collect()
    }

    /// Expects these states of the jobs of a run, and shows the logs if they are others.
    #[track_caller]
    pub fn expect(&self, run: usize, states: &[(&str, &str)]) {
        for (name, state) in states {
            let jobs = self.jobs(run, name);
            assert!(!jobs.is_empty(), "there is no job {name}");
            for job in jobs {
                assert_eq!(job["state"], *state, "run {run}, {name}: {}", self.logs(run));
            }
        }
    }

    /// All that the jobs of a run have printed.
    pub fn logs(&self, run: usize) -> String {
        let jobs = self.of(run)["jobs"].as_array().unwrap().iter();
        let told = jobs.map(|job| {
            let text = |name: &str| job[name].as_str().unwrap().to_owned();
            let steps = job["steps"].as_array().unwrap().iter();
            let steps: Vec<_> =
                steps.map(|step| format!("{} ({} s)", step["step"], step["seconds"])).collect();
            format!(
                "== {} {}: {}; {}\n{}\n",
                text("name"),
                job["matrix"],
                text("state"),
                steps.join(", "),
                text("log")
            )
        });
        told.collect()
    }
}
