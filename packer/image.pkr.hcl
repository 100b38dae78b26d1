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
  # such file, the variable must be set.
  head   = split(" ", try(trimspace(file(abspath("${path.root}/../.git/HEAD"))), "ref: none"))
  branch = length(local.head) > 1 ? local.head[1] : ""
  commit = var.commit != "" ? var.commit : local.branch == "" ? local.head[0] : trimspace(file("${local.project}/.git/${local.branch}"))

  committed = var.committed != "" ? var.committed : timestamp()

  # Sessions need an instance profile; where none is given, Packer makes one for this build.
  sessions      = var.ssh_interface == "session_manager"
  make_profiles = local.sessions && var.instance_profile == "" ? [true] : []

  # Packer's own tunnel takes one connection, so Ansible opens a session of its own.
  # https://developer.hashicorp.com/packer/integrations/hashicorp/ansible/latest/components/provisioner/ansible#amazon-session-manager
  start_session = "aws ssm start-session --region ${var.region} --target %h --document-name AWS-StartSSHSession --parameters portNumber=%p"
  inventory     = "{{ .HostAlias }} ansible_host={{ .ID }} ansible_user={{ .User }} ansible_ssh_common_args='-o ProxyCommand=\"${local.start_session}\"'\n"

  # A variable's own validation sees no other variable; what has no file is an error that
  # quotes its name.
  shared      = length(var.ami_users) + length(var.ami_org_arns) > 0
  kms_key_id  = local.shared && var.kms_key_id == "" ? file("To share the image, set kms_key_id: no other account can use the default key.") : var.kms_key_id
  ami_regions = local.shared && length(var.ami_regions) > 0 ? [file("To share the image, bake it in each region without ami_regions: copies are encrypted with the default key of their region, which no other account can use.")] : var.ami_regions

  deprecate_at = var.deprecate_after == 0 ? "" : timeadd(timestamp(), "${var.deprecate_after * 24}h")

  name = "hello-birthday-${local.version}-${var.architecture}-${formatdate("YYYYMMDDhhmmss", timestamp())}"
  # By Purpose, the role that bakes knows its own things.
  run_tags = { Name = "bake-${local.name}", Service = "hello-birthday", Purpose = "bake" }
  tags = {
    Name      = local.name
    Service   = "hello-birthday"
    Version   = local.version
    Commit    = local.commit
    Committed = local.committed
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

  # The one moment in an image's life with SSH, with a key for this build alone. Through
  # Session Manager no port is open; otherwise one is, to the builder's public address.
  ssh_username                              = "ec2-user"
  ssh_interface                             = var.ssh_interface
  ssh_clear_authorized_keys                 = true
  temporary_key_pair_type                   = "ed25519"
  temporary_security_group_source_public_ip = var.ssh_interface == "public_ip"
  iam_instance_profile                      = var.instance_profile

  # As in AWS's managed policy AWSCloud9SSMInstanceProfile: sessions, and nothing else.
  dynamic "temporary_iam_instance_profile_policy_document" {
    for_each = local.make_profiles

    content {
      Version = "2012-10-17"
      Statement {
        Effect = "Allow"
        Action = [
          "ssm:UpdateInstanceInformation",
          "ssmmessages:CreateControlChannel",
          "ssmmessages:CreateDataChannel",
          "ssmmessages:OpenControlChannel",
          "ssmmessages:OpenDataChannel",
        ]
        Resource = ["*"]
      }
    }
  }

  # Metadata by session tokens only (IMDSv2), one hop away: while building, and by
  # default of every instance of the image.
  imds_support = "v2.0"
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  # Encrypted from the start: encrypt_boot would register the image a second time, to
  # encrypt it in the copy.
  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_type           = "gp3"
    volume_size           = 8
    iops                  = 3000
    throughput            = 125
    encrypted             = true
    kms_key_id            = local.kms_key_id
    delete_on_termination = true
  }

  ami_name        = local.name
  ami_description = "hello-birthday ${local.version}, commit ${local.commit}"
  ami_users       = var.ami_users
  ami_org_arns    = var.ami_org_arns
  ami_regions     = local.ami_regions
  deprecate_at    = local.deprecate_at
  tags            = local.tags
  snapshot_tags   = local.tags
  run_tags        = local.run_tags
  run_volume_tags = local.run_tags
}

build {
  sources = ["source.amazon-ebs.host"]

  provisioner "ansible" {
    playbook_file = "${path.root}/bake.yml"
    user          = "ec2-user"
    use_proxy     = false
    # Empty is Packer's own, which has the instance's address.
    inventory_file_template = local.sessions ? local.inventory : ""
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
