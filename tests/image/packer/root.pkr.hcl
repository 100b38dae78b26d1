# Bakes a root file system on this machine with the playbook that bakes an AMI, so that
# all but AWS's part is tested. As root, on Linux.

variable "root" {
  type        = string
  description = "Folder with the root file system of a Debian 12 or Amazon Linux 2023."
}

variable "binary" {
  type        = string
  description = "Static binary, with its checksum beside it in a file of the same name and .sha256."
}

variable "settings" {
  type        = string
  default     = ""
  description = "YAML file with variables of the role hello_birthday. Without it its defaults."
}

variable "manifest" {
  type        = string
  default     = "target/root.json"
  description = "File that describes what was baked, for the next step of a pipeline."
}

locals {
  project  = abspath("${path.root}/../../..")
  binary   = abspath(var.binary)
  checksum = substr(file("${local.binary}.sha256"), 0, 64)
  settings = var.settings == "" ? "" : "--extra-vars '@${abspath(var.settings)}'"
}

source "null" "root" {
  communicator = "none"
}

build {
  sources = ["source.null.root"]

  provisioner "shell-local" {
    environment_vars = ["ANSIBLE_ROLES_PATH=${local.project}/ansible/roles"]
    inline = [
      join(" ", [
        "ansible-playbook --inventory '${abspath(var.root)},' --connection chroot",
        "--extra-vars hello_birthday_binary='${local.binary}'",
        "--extra-vars hello_birthday_binary_sha256='${local.checksum}'",
        local.settings,
        "'${local.project}/packer/bake.yml'",
      ]),
    ]
  }

  post-processor "manifest" {
    output      = var.manifest
    custom_data = { checksum = local.checksum }
  }
}
