# Bakes an AMI that has been asked: the newest Amazon Linux 2023, what the role makes
# of it, the service started and queried on it, and the result verified and cleaned.

locals {
  project = abspath("${path.root}/..")

  machine       = var.architecture == "arm64" ? "aarch64" : "x86_64"
  default       = "${local.project}/target/${local.machine}-unknown-linux-gnu/release/hello-birthday"
  binary        = var.binary == "" ? local.default : abspath(var.binary)
  checksum      = substr(file("${local.binary}.sha256"), 0, 64)
  version       = split("\"", split("\nversion = ", file("${local.project}/Cargo.toml"))[1])[1]
  instance_type = var.architecture == "arm64" ? "t4g.small" : "t3.small"

  # HEAD holds a commit, or "ref:" and the name of a file that does. Where there is no
  # such file, the variable must tell.
  head   = split(" ", try(trimspace(file(abspath("${path.root}/../.git/HEAD"))), "ref: none"))
  branch = length(local.head) > 1 ? local.head[1] : ""
  commit = var.commit != "" ? var.commit : local.branch == "" ? local.head[0] : trimspace(file("${local.project}/.git/${local.branch}"))

  name = "hello-birthday-${local.version}-${var.architecture}-${formatdate("YYYYMMDDhhmmss", timestamp())}"
  tags = {
    Name      = local.name
    Service   = "hello-birthday"
    Version   = local.version
    Commit    = local.commit
    Checksum  = "sha256:${local.checksum}"
    SourceAMI = "{{ .SourceAMI }}"
  }
}

source "amazon-ebs" "host" {
  region        = var.region
  subnet_id     = var.subnet_id
  instance_type = local.instance_type

  source_ami_filter {
    owners      = ["amazon"]
    most_recent = true
    filters = {
      # Not the minimal image, which has no SSM agent.
      # One line of kernels, or the newest image would be of either by chance.
      name                = "al2023-ami-2023.*-kernel-6.1-${var.architecture}"
      architecture        = var.architecture
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
  }

  # The one moment in an image's life with SSH: a key of its own for this build, and
  # a port open to this builder.
  ssh_username                              = "ec2-user"
  ssh_clear_authorized_keys                 = true
  temporary_key_pair_type                   = "ed25519"
  temporary_security_group_source_public_ip = true

  # Metadata by session tokens only (IMDSv2), one hop away: while building, and by
  # default of every instance of the image.
  imds_support = "v2.0"
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  encrypt_boot = true
  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_type           = "gp3"
    volume_size           = 8
    iops                  = 3000
    throughput            = 125
    encrypted             = true
    delete_on_termination = true
  }

  ami_name        = local.name
  ami_description = "hello-birthday ${local.version}, commit ${local.commit}"
  tags            = local.tags
  snapshot_tags   = local.tags
  run_tags        = { Name = "bake-${local.name}" }
}

build {
  sources = ["source.amazon-ebs.host"]

  provisioner "ansible" {
    playbook_file = "${path.root}/bake.yml"
    user          = "ec2-user"
    use_proxy     = false
    extra_arguments = concat(
      [
        "--extra-vars", "hello_birthday_binary=${local.binary}",
        "--extra-vars", "hello_birthday_binary_sha256=${local.checksum}",
      ],
      var.settings == "" ? [] : ["--extra-vars", "@${abspath(var.settings)}"],
    )
    ansible_env_vars = [
      "ANSIBLE_ROLES_PATH=${local.project}/ansible/roles",
      # No second connection is made once the key is gone.
      "ANSIBLE_SSH_ARGS=-o ControlMaster=auto -o ControlPersist=10m",
    ]
  }

  post-processor "manifest" {
    output = var.manifest
    custom_data = {
      version  = local.version
      commit   = local.commit
      checksum = local.checksum
    }
  }
}
