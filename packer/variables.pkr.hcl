variable "region" {
  type        = string
  default     = "eu-central-1"
  description = "AWS region in which the image is built and registered."
}

variable "architecture" {
  type        = string
  default     = "arm64"
  description = "Processor of the image: arm64 or x86_64. It must be the binary's."

  validation {
    condition     = var.architecture == "arm64" || var.architecture == "x86_64"
    error_message = "The architecture is arm64 or x86_64."
  }
}

variable "binary" {
  type        = string
  default     = ""
  description = "Static binary, with its checksum beside it in a file of the same name and .sha256. Without it the one that cargo static built for the architecture."
}

variable "commit" {
  type        = string
  default     = ""
  description = "Commit that the binary was built from. Without it the one of the branch that is checked out here."
}

variable "committed" {
  type        = string
  default     = ""
  description = "Time of that commit, such as 2026-01-31T12:00:00Z, which decides which of two images is older. Without it the time of the bake."

  validation {
    condition     = var.committed == "" || can(timeadd(var.committed, "0s"))
    error_message = "The committed is a time in UTC, such as 2026-01-31T12:00:00Z."
  }
}

variable "subnet_id" {
  type        = string
  default     = ""
  description = "Subnet to build in, from which the instance reaches Amazon Linux's repositories. Without it one of the default VPC."
}

variable "ssh_interface" {
  type        = string
  default     = "session_manager"
  description = "How to reach the instance: session_manager, or public_ip with port 22 open to the builder's address."

  validation {
    condition     = var.ssh_interface == "session_manager" || var.ssh_interface == "public_ip"
    error_message = "The ssh_interface is session_manager or public_ip."
  }
}

variable "instance_profile" {
  type        = string
  default     = ""
  description = "Name of the instance profile to build with, which allows what AmazonSSMManagedInstanceCore does. Without it a temporary one for Session Manager."
}

variable "ami_users" {
  type        = list(string)
  default     = []
  description = "Accounts that may launch the image. Requires kms_key_id."

  validation {
    condition     = length([for user in var.ami_users : user if length(user) == 12 && can(parseint(user, 10))]) == length(var.ami_users)
    error_message = "The ami_users are account IDs of 12 digits."
  }
}

variable "ami_org_arns" {
  type        = list(string)
  default     = []
  description = "ARNs of organizations whose accounts may launch the image. Requires kms_key_id."

  validation {
    condition     = length([for arn in var.ami_org_arns : arn if try(split(":", arn)[2], "") == "organizations"]) == length(var.ami_org_arns)
    error_message = "The ami_org_arns are ARNs of organizations, as in arn:aws:organizations::123456789012:organization/o-abcdefghij."
  }
}

variable "ami_regions" {
  type        = list(string)
  default     = []
  description = "Other regions to copy the image to, encrypted with their default key."
}

variable "kms_key_id" {
  type        = string
  default     = ""
  description = "ID, alias or ARN of the KMS key that encrypts the image. Without it the account's default key for EBS."
}

variable "deprecate_after" {
  type        = number
  default     = 0
  description = "Days after which AWS marks the image as deprecated, which stops nobody from launching it; never where 0."

  validation {
    condition     = var.deprecate_after >= 0 && var.deprecate_after <= 3650 && floor(var.deprecate_after) == var.deprecate_after
    error_message = "The deprecate_after is a whole number of days from 0 to 3650."
  }
}

variable "settings" {
  type        = string
  default     = ""
  description = "YAML file with variables of the role hello_birthday. Without it its defaults."
}

variable "manifest" {
  type        = string
  default     = "target/image.json"
  description = "File that describes what was baked, for the next step of a pipeline."
}
