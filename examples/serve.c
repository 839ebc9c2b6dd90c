/* Scores rows with an export through TensorFlow's C API, on which Java, Go and C++ servers build. No Python anywhere.

     TF=$(python -c "import tensorflow, os; print(os.path.dirname(tensorflow.__file__))")
     gcc -O1 examples/serve.c -o serve -I$TF/include -L$TF -Wl,-rpath,$TF -l:libtensorflow_cc.so.2 \
         -l:libtensorflow_framework.so.2
     ./serve runs/feed/export/1 < requests.txt

   Reads requests, one item per line, and prints each fetched output on a line, or "error CODE MESSAGE":

     feed serving_default_hour:0 int64 1 2        name, type, rank and dimensions; the values follow
     20 7
     feed serving_default_category:0 string 1 2   each string with its length, because it may hold anything
     5:music0:
     fetch click StatefulPartitionedCall:0        name to print, name of the tensor
     run

   `saved_model_cli show --dir runs/feed/export/1 --all` lists the tensors of a signature's inputs and outputs. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

#define MOST 512 /* feeds or fetches of a request */

static TF_Output find(TF_Graph* graph, char* name) {
  char* colon = strrchr(name, ':');
  TF_Output output = {NULL, 0};
  if (colon != NULL) {
    output.index = atoi(colon + 1);
    *colon = 0;
  }
  output.oper = TF_GraphOperationByName(graph, name);
  if (output.oper == NULL) {
    fprintf(stderr, "%s: no such tensor\n", name);
    exit(1);
  }
  return output;
}

static TF_DataType type_of(const char* name) {
  if (!strcmp(name, "float")) return TF_FLOAT;
  if (!strcmp(name, "double")) return TF_DOUBLE;
  if (!strcmp(name, "int32")) return TF_INT32;
  if (!strcmp(name, "int64")) return TF_INT64;
  return TF_STRING;
}

static TF_Tensor* read_tensor(const char* name, int rank) {
  int64_t dims[8], count = 1;
  for (int i = 0; i < rank; i++) {
    if (scanf("%" SCNd64, &dims[i]) != 1) exit(3);
    count *= dims[i];
  }
  TF_DataType type = type_of(name);
  size_t size = type == TF_STRING ? sizeof(TF_TString) : TF_DataTypeSize(type);
  TF_Tensor* tensor = TF_AllocateTensor(type, dims, rank, count * size);
  void* data = TF_TensorData(tensor);
  for (int64_t i = 0; i < count; i++) {
    int got = 1;
    if (type == TF_FLOAT) got = scanf("%f", &((float*)data)[i]);
    if (type == TF_DOUBLE) got = scanf("%lf", &((double*)data)[i]);
    if (type == TF_INT32) got = scanf("%" SCNd32, &((int32_t*)data)[i]);
    if (type == TF_INT64) got = scanf("%" SCNd64, &((int64_t*)data)[i]);
    if (type == TF_STRING) {
      size_t length;
      if (scanf("%zu", &length) != 1 || getchar() != ':') exit(3);
      char* text = malloc(length + 1);
      if (fread(text, 1, length, stdin) != length) exit(3);
      TF_TString_Init(&((TF_TString*)data)[i]);
      TF_TString_Copy(&((TF_TString*)data)[i], text, length);
      free(text);
    }
    if (got != 1) exit(3);
  }
  return tensor;
}

static void print_tensor(const char* name, TF_Tensor* tensor) {
  printf("%s", name);
  for (int64_t i = 0; i < TF_TensorElementCount(tensor); i++) {
    if (TF_TensorType(tensor) == TF_FLOAT) printf(" %.9g", ((float*)TF_TensorData(tensor))[i]);
    if (TF_TensorType(tensor) == TF_INT32) printf(" %" PRId32, ((int32_t*)TF_TensorData(tensor))[i]);
  }
  printf("\n");
}

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: serve EXPORT < REQUESTS\n");
    return 2;
  }
  TF_Status* status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  const char* tags[] = {"serve"};
  TF_Session* session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  if (TF_GetCode(status) != TF_OK) {
    fprintf(stderr, "%s\n", TF_Message(status));
    return 1;
  }
  static char word[4096], kind[64], labels[MOST][256];
  TF_Output feeds[MOST], fetches[MOST];
  TF_Tensor *inputs[MOST], *outputs[MOST];
  int fed = 0, fetched = 0, rank;
  while (scanf("%4095s", word) == 1) {
    if (!strcmp(word, "feed")) {
      if (fed == MOST || scanf("%4095s %63s %d", word, kind, &rank) != 3 || rank > 8) return 3;
      feeds[fed] = find(graph, word);
      inputs[fed++] = read_tensor(kind, rank);
    } else if (!strcmp(word, "fetch")) {
      if (fetched == MOST || scanf("%255s %4095s", labels[fetched], word) != 2) return 3;
      fetches[fetched++] = find(graph, word);
    } else { /* run */
      TF_SessionRun(session, NULL, feeds, inputs, fed, fetches, outputs, fetched, NULL, 0, NULL, status);
      if (TF_GetCode(status) != TF_OK) {
        char message[200]; /* its first line */
        snprintf(message, sizeof message, "%s", TF_Message(status));
        message[strcspn(message, "\n")] = 0;
        printf("error %d %s\n", TF_GetCode(status), message);
      }
      for (int i = 0; TF_GetCode(status) == TF_OK && i < fetched; i++) {
        print_tensor(labels[i], outputs[i]);
        TF_DeleteTensor(outputs[i]);
      }
      for (int i = 0; i < fed; i++) TF_DeleteTensor(inputs[i]);
      fed = fetched = 0;
      fflush(stdout);
    }
  }
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
