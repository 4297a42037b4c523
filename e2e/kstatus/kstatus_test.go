// Package kstatus holds the statuses that the operator writes against the library that GitOps tools read them with.
package kstatus

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// recorded is an object as the API server had it, and what kstatus is to make of it.
type recorded struct {
	Expected status.Status             `json:"expected"`
	Object   unstructured.Unstructured `json:"object"`
}

// TestRecordedObjects reads every file of KSTATUS_DIR, or of recorded/.
func TestRecordedObjects(t *testing.T) {
	directory := os.Getenv("KSTATUS_DIR")
	if directory == "" {
		directory = "recorded"
	}
	files, err := filepath.Glob(filepath.Join(directory, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no recorded objects in %s", directory)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { check(t, file) })
	}
}

func check(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var record recorded
	if err := json.Unmarshal(text, &record); err != nil {
		t.Fatal(err)
	}
	result, err := status.Compute(&record.Object)
	if err != nil {
		t.Fatal(err)
	}
	if result.Status != record.Expected {
		t.Errorf("kstatus is %s (%s), expected %s", result.Status, result.Message, record.Expected)
	}
}
