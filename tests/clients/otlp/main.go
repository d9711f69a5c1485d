// A receiver of OTLP over HTTP, JSON or Protobuf, that reads as the OpenTelemetry Collector does. It
// prints its address, and each span that it gets as a line of JSON.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("http://%s\n", listener.Addr())
	http.HandleFunc("/v1/traces", receive)
	panic(http.Serve(listener, nil))
}

func receive(answer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	traces := ptraceotlp.NewExportRequest()
	isJSON := request.Header.Get("Content-Type") == "application/json"
	if err == nil && isJSON {
		err = traces.UnmarshalJSON(body)
	} else if err == nil {
		err = traces.UnmarshalProto(body)
	}
	if err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	lines := json.NewEncoder(os.Stdout)
	resources := traces.Traces().ResourceSpans()
	for i := 0; i < resources.Len(); i++ {
		service, _ := resources.At(i).Resource().Attributes().Get("service.name")
		scopes := resources.At(i).ScopeSpans()
		for j := 0; j < scopes.Len(); j++ {
			spans := scopes.At(j).Spans()
			for k := 0; k < spans.Len(); k++ {
				lines.Encode(described(service.Str(), spans.At(k)))
			}
		}
	}
	if isJSON {
		answer.Header().Set("Content-Type", "application/json")
		fmt.Fprint(answer, "{}")
	} // an empty answer is one in Protobuf
}

func described(service string, span ptrace.Span) map[string]any {
	links, events := []string{}, []string{}
	for i := 0; i < span.Links().Len(); i++ {
		link := span.Links().At(i)
		links = append(links, link.TraceID().String()+"/"+link.SpanID().String())
	}
	for i := 0; i < span.Events().Len(); i++ {
		events = append(events, span.Events().At(i).Name())
	}
	return map[string]any{
		"service":    service,
		"trace":      span.TraceID().String(),
		"span":       span.SpanID().String(),
		"parent":     span.ParentSpanID().String(),
		"name":       span.Name(),
		"kind":       span.Kind().String(),
		"seconds":    span.EndTimestamp().AsTime().Sub(span.StartTimestamp().AsTime()).Seconds(),
		"status":     span.Status().Code().String(),
		"message":    span.Status().Message(),
		"attributes": span.Attributes().AsRaw(),
		"links":      links,
		"events":     events,
	}
}
