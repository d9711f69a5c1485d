// Starts runs on execstream with franz-go, and brings them to an end.
//
// Environment: BOOTSTRAP, TOPIC, RUNS. Its default partitioner is Java's murmur2, and the times it
// sends have nine digits of a second's fraction, as Go writes them.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const left = 5 // of the runs, the last ones, stay RUNNING

func uuid() string {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		panic(err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func command(kind, run string, fields map[string]any) *kgo.Record {
	at := time.Now().UTC().Format("2006-01-02T15:04:05.000000000Z")
	value := map[string]any{"type": kind, "id": uuid(), "at": at, "user_id": "go", "graph_exec_id": run}
	for name, one := range fields {
		value[name] = one
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return &kgo.Record{Key: []byte(run), Value: encoded}
}

func commands(run string, ends bool) []*kgo.Record {
	records := []*kgo.Record{
		command("graph.create", run, map[string]any{
			"graph_id": "example", "graph_version": 1, "starting_nodes": []any{},
		}),
		command("graph.start", run, nil),
	}
	if ends {
		records = append(records, command("graph.update", run, map[string]any{"status": "COMPLETED"}))
	}
	return records
}

func main() {
	runs, err := strconv.Atoi(os.Getenv("RUNS"))
	if err != nil {
		panic(err)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(os.Getenv("BOOTSTRAP")),
		kgo.DefaultProduceTopic(os.Getenv("TOPIC")),
	)
	if err != nil {
		panic(err)
	}
	defer client.Close()
	for number := 0; number < runs; number++ {
		run := uuid()
		results := client.ProduceSync(context.Background(), commands(run, number < runs-left)...)
		if err := results.FirstErr(); err != nil {
			panic(err)
		}
		fmt.Println(run)
	}
}
