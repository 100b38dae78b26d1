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

variable "subnet_id" {
  type        = string
  default     = ""
  description = "Subnet to build in, which gives public addresses. Without it one of the default VPC."
}

variable "settings" {
  type        = string
  default     = ""
  description = "YAML file with variables of the role hello_birthday. Without it its defaults."
}

variable "manifest" {
  type        = string
  default     = "target/image.json"
  description = "File that tells what was baked, for the next step of a pipeline."
}
