"""A collector of spans: grpcio's server, the messages of OpenTelemetry's package; one line of JSON for each span.

    collector.py ADDRESS:PORT
"""

import json
import sys
from concurrent import futures

import grpc
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2


def say(**what):
    print(json.dumps(what), flush=True)


def values(attributes):
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


def unknown(message):
    return [field.field_number for field in UnknownFieldSet(message)]


class Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request, context):
        for group in request.resource_spans:
            for scope in group.scope_spans:
                for span in scope.spans:
                    say(
                        trace=span.trace_id.hex(),
                        id=span.span_id.hex(),
                        parent=span.parent_span_id.hex(),
                        kind=trace_pb2.Span.SpanKind.Name(span.kind),
                        name=span.name,
                        attributes=values(span.attributes),
                        resource=values(group.resource.attributes),
                        unknown=unknown(request) + unknown(group) + unknown(scope) + unknown(span),
                    )
        return trace_service_pb2.ExportTraceServiceResponse()


# One at a time: lines of two threads would mix.
server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
if server.add_insecure_port(sys.argv[1]) == 0:
    sys.exit(f"cannot listen at {sys.argv[1]}")
server.start()
say(listening=sys.argv[1])
server.wait_for_termination()
