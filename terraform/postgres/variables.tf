variable "name" {
  type        = string
  description = "Name of the cluster."
}

variable "region" {
  type        = string
  description = "AWS region of the cluster."
}

variable "subnet_ids" {
  type        = list(string)
  description = "Subnets of the cluster, each in an availability zone of its own, which the instances take in turn."
}

variable "security_group_id" {
  type        = string
  description = "Security group of the cluster."
}

variable "kms_key_arn" {
  type        = string
  description = "KMS key of the master password, the logs and Database Insights."
}

variable "min_capacity" {
  type        = number
  description = "Minimum capacity of each instance, in ACUs."
}

variable "max_capacity" {
  type        = number
  description = "Maximum capacity of each instance, in ACUs."
}

variable "readers" {
  type        = number
  description = "Number of instances beside the writer."
}

variable "major_version" {
  type        = string
  description = "Major version of PostgreSQL."
}

variable "allow_major_version_upgrade" {
  type        = bool
  description = "Whether a change of major_version may upgrade the cluster."
}

variable "apply_immediately" {
  type        = bool
  description = "Whether changes are applied at once instead of in the next maintenance window."
}

variable "log_retention_days" {
  type        = number
  description = "Days that logs are kept."
}

variable "deletion_protection" {
  type        = bool
  description = "Whether the cluster refuses to be deleted."
}

variable "permissions_boundary" {
  type        = string
  description = "ARN of the permissions boundary of the monitoring role; null for none."
}
