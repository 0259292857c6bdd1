// Searches a clipsearch server from Go, with stubs made from the .proto files.
//
//	./generate.sh                                  # once: writes clipsearchv1/, needs protoc-gen-go and protoc-gen-go-grpc
//	go mod init clipsearch-example && go mod tidy  # once
//	go run . localhost:50051 "a red striped dress"
//	go run . -filter 'price < 50' localhost:50051 photo.jpg
//
// Prints the hits, best first: score, id and metadata. Exit status 1 where the server refuses, with its reason.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"clipsearch-example/clipsearchv1"
)

const deadline = 5 * time.Second

func main() {
	filter := flag.String("filter", "", "only items whose metadata match")
	collection := flag.String("collection", "", "the collection to search; the default one if empty")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: clipsearch-example [-filter FILTER] [-collection NAME] HOST:PORT (TEXT | PICTURE)")
		os.Exit(2)
	}
	query, err := queryOf(flag.Arg(1))
	if err == nil {
		err = search(flag.Arg(0), &clipsearchv1.SearchRequest{
			Query:      query,
			TopK:       int32p(5),
			View:       clipsearchv1.View_VIEW_METADATA,
			Filter:     *filter,
			Collection: *collection,
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, explained(err))
		os.Exit(1)
	}
}

// queryOf takes what looks like the file of a picture for one, and all else for a text.
func queryOf(argument string) (*clipsearchv1.Query, error) {
	switch strings.ToLower(filepath.Ext(argument)) {
	case ".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff":
		image, err := os.ReadFile(argument)
		return &clipsearchv1.Query{Kind: &clipsearchv1.Query_Image{Image: image}}, err
	}
	return &clipsearchv1.Query{Kind: &clipsearchv1.Query_Text{Text: argument}}, nil
}

func search(target string, request *clipsearchv1.SearchRequest) error {
	// In a service: one connection for the whole program, which connects again by itself where it breaks. These two names
	// are in every release of grpc-go; since 1.63 it prefers NewClient, and insecure.NewCredentials.
	connection, err := grpc.Dial(target, grpc.WithInsecure())
	if err != nil {
		return err
	}
	defer connection.Close()
	// The server is told the deadline, and does not begin what it cannot finish in time.
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	response, err := clipsearchv1.NewSearchServiceClient(connection).Search(ctx, request)
	if err != nil {
		return err
	}
	for _, hit := range response.Hits {
		metadata, err := protojson.Marshal(hit.Metadata)
		if err != nil {
			return err
		}
		fmt.Printf("%.3f %s %s\n", hit.Score, hit.Id, metadata)
	}
	return nil
}

// explained is an error with the reason that a clipsearch server gives for it.
func explained(err error) string {
	failed, isStatus := status.FromError(err)
	if !isStatus {
		return err.Error()
	}
	for _, detail := range failed.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return fmt.Sprintf("%s (%s): %s", failed.Code(), info.Reason, failed.Message())
		}
	}
	return fmt.Sprintf("%s: %s", failed.Code(), failed.Message())
}

func int32p(value int32) *int32 { return &value }
