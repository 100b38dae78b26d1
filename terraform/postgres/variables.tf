variable "name" {
  type        = string
  description = "Name of the instance."
}

variable "subnet_ids" {
  type        = list(string)
  description = "Subnets that the instance and its standby may be in."
}

variable "security_group_id" {
  type        = string
  description = "Security group of the instance."
}

variable "kms_key_arn" {
  type        = string
  description = "Key that the password, the logs and the figures on performance are encrypted with."
}

variable "instance_class" {
  type        = string
  description = "RDS instance class."
}

variable "storage_gib" {
  type        = number
  description = "GiB of storage to begin with; it grows up to five times by itself."
}

variable "read_replica" {
  type        = bool
  description = "Whether there is a replica to find users in."
}

variable "log_retention_days" {
  type        = number
  description = "Days that logs are kept."
}

variable "deletion_protection" {
  type        = bool
  description = "Whether the instances refuse to be deleted."
}

variable "permissions_boundary" {
  type        = string
  description = "ARN of the policy that no role may go beyond; null for none."
}
