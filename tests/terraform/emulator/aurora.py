"""What moto lacks of Aurora PostgreSQL: settings of a cluster that it takes and forgets, and
a Data API that answers as that of a cluster does.

After the API references of Amazon RDS and of the RDS Data API. No statement is executed.
"""

import json
import re

from moto.core.exceptions import JsonRESTError
from moto.rds.exceptions import InvalidParameterCombination
from moto.rds.models import DBCluster, RDSBackend, rds_backends
from moto.rdsdata.models import rdsdata_backends
from moto.rdsdata.responses import RDSDataServiceResponse

from gaps import around


def extend_moto():
    around(DBCluster, "__init__", keep_settings)
    around(RDSBackend, "modify_db_cluster", refuse_major_upgrade)
    # Moto enables it for Serverless v1 alone.
    DBCluster.enable_http_endpoint = property(
        lambda cluster: cluster._enable_http_endpoint,
        lambda cluster, enabled: setattr(cluster, "_enable_http_endpoint", bool(enabled)),
    )
    scaling = DBCluster.scaling_configuration_info
    # Only a cluster of Serverless v1 has any.
    DBCluster.scaling_configuration_info = property(
        lambda cluster: scaling.fget(cluster) if cluster.engine_mode == "serverless" else None
    )
    RDSDataServiceResponse.execute_statement = execute_statement


def keep_settings(method, cluster, *arguments, **named):
    method(*arguments, **named)
    cluster.database_insights_mode = named.get("database_insights_mode") or "standard"
    cluster.performance_insights_enabled = named.get("enable_performance_insights", False)
    cluster.performance_insights_kms_key_id = named.get("performance_insights_kms_key_id")
    cluster.performance_insights_retention_period = named.get("performance_insights_retention_period")


def refuse_major_upgrade(method, backend, settings):
    cluster = backend.clusters[settings["db_cluster_identifier"]]
    wanted = settings.get("engine_version") or cluster.engine_version
    family = backend.db_cluster_parameter_groups[
        settings.get("db_cluster_parameter_group_name") or cluster.parameter_group
    ].db_parameter_group_family
    if wanted.split(".")[0] != cluster.engine_version.split(".")[0]:
        if not settings.get("allow_major_version_upgrade"):
            raise InvalidParameterCombination(
                "The AllowMajorVersionUpgrade flag must be present when upgrading to a new major version."
            )
    if family != cluster.engine + wanted.split(".")[0]:
        raise InvalidParameterCombination(
            f"The Parameter Group {cluster.parameter_group} with DBParameterGroupFamily {family} cannot be used for "
            f"this instance. Please use a Parameter Group with DBParameterGroupFamily {cluster.engine}{wanted}."
        )
    return method(settings)


def execute_statement(response):
    sql = response._get_param("sql")
    if ";" in re.sub(r"(\$\w*\$).*?\1", "", sql, flags=re.DOTALL).strip():
        refuse("BadRequestException", "Multistatements aren't supported")
    arn, secret, database = (response._get_param(name) for name in ("resourceArn", "secretArn", "database"))
    clusters = rds_backends[response.current_account][response.region].clusters.values()
    cluster = next((cluster for cluster in clusters if cluster.db_cluster_arn == arn), None)
    if cluster is None:
        refuse("BadRequestException", f"The DB cluster {arn} does not exist")
    if not cluster.enable_http_endpoint:
        refuse("HttpEndpointNotEnabledException", f"The HTTP endpoint of {arn} is not enabled")
    if not cluster.members:
        refuse("DatabaseNotFoundException", "The DB cluster doesn't have a DB instance")
    if secret != cluster.master_user_secret.secret_arn:
        refuse("DatabaseErrorException", "FATAL: password authentication failed")
    if database != cluster.database_name:
        refuse("DatabaseErrorException", f'FATAL: database "{database}" does not exist')
    backend = rdsdata_backends[response.current_account][response.region]
    return json.dumps(backend.execute_statement(resource_arn=arn, sql=sql).to_json())


def refuse(code, message):
    raise JsonRESTError(code, message)
